//! The command line on a real installation: what it says, and with which exit code.

use super::rig::{QUICK, Rig, by_hand, private};
use serde_json::Value;
use std::io::BufRead;
use std::process::{Command, Output, Stdio};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn check_reads_the_policy_and_tells_all_that_is_wrong() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let checked = rig.run(&["check"]);
    assert_eq!(code(&checked), 0, "{:?}", text(&checked));
    assert!(text(&checked).0.contains("1 credentials in 1 accounts, 3 sinks"), "{:?}", text(&checked));
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    let bad = policy.replace("grace = \"3s\"", "grace = \"3h\"\nrotate_evry = \"1d\"");
    std::fs::write(rig.path("policy.toml"), bad).unwrap();
    let checked = rig.run(&["check"]);
    assert_eq!(code(&checked), 3);
    let (_, errors) = text(&checked);
    for word in ["rotate_evry", "rotate_every", "grace", "policy.toml:", "errors"] {
        assert!(errors.contains(word), "{word}: {errors}");
    }
    for command in [&["run"][..], &["plan"], &["status"], &["rotate", "billing-sms"]] {
        assert_eq!(code(&rig.run(command)), 3, "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_policy_is_an_error_with_a_hint() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    std::fs::remove_file(rig.path("policy.toml")).unwrap();
    let (_, errors) = text(&rig.run(&["check"]));
    assert!(errors.contains("can not be opened") && errors.contains("hint: name the policy"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_shows_what_would_happen_and_changes_nothing() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    rig.foreign("not ours");
    let planned = rig.run(&["plan"]);
    assert_eq!(code(&planned), 0, "{:?}", text(&planned));
    let (said, _) = text(&planned);
    for words in ["2 keys, 0 ours", "create a key", "first key", "now", "nothing was changed"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!rig.path("journal.db").exists(), "it made a journal");
    assert_eq!(rig.live().len(), 1, "it made a key");

    let daemon = rig.start();
    rig.until_settled(1).await;
    let planned: Value = serde_json::from_slice(&rig.run(&["plan", "--json"]).stdout).unwrap();
    let line = &planned["credentials"][0];
    assert_eq!((line["next"].as_str(), line["reason"].as_str()), (Some("wait"), Some("older than rotate_every")));
    drop(daemon);

    let theirs = rig.foreign("hers");
    private(&rig.path("secrets").join("billing-sms.json"), &by_hand(&theirs, "x").to_string());
    let planned = rig.run(&["plan"]);
    assert_eq!(code(&planned), 5);
    assert!(text(&planned).0.contains("drift"), "{:?}", text(&planned));
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_without_twilio_says_who_does_not_answer() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    let elsewhere = policy.replace(&rig.sandbox.url(), "http://127.0.0.1:9");
    std::fs::write(rig.path("policy.toml"), elsewhere).unwrap();
    let planned = rig.run(&["plan"]);
    assert_eq!(code(&planned), 6, "{:?}", text(&planned));
    assert!(text(&planned).0.contains("can not be listed"), "{:?}", text(&planned));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_a_daemon_says_so() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let asked = rig.run(&["status"]);
    assert_eq!(code(&asked), 4);
    assert!(text(&asked).1.contains("there is no journal at"), "{:?}", text(&asked));
    let daemon = rig.start();
    rig.until_settled(1).await;
    let running = rig.run(&["status"]);
    assert_eq!(code(&running), 0);
    assert!(text(&running).0.contains("serving"), "{:?}", text(&running));
    assert!(!text(&running).1.contains("no daemon"), "{:?}", text(&running));
    drop(daemon);
    assert!(text(&rig.run(&["status"])).1.contains("no daemon has this journal open"));
    assert_eq!(code(&rig.run(&["status", "nobody"])), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_credential_shows_in_every_way_and_can_be_resumed() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let theirs = rig.foreign("hers");
    private(&rig.path("secrets").join("billing-sms.json"), &by_hand(&theirs, "x").to_string());
    rig.until("halted", || rig.credential("billing-sms").is_some_and(|line| line["phase"] == "halted")).await;
    let status = rig.run(&["status"]);
    assert_eq!(code(&status), 5);
    let (said, hints) = text(&status);
    assert!(said.contains("a human (drift)") && said.contains(theirs.as_str()), "{said}");
    assert!(hints.contains("rekeyd resume billing-sms --overwrite"), "{hints}");
    assert!(rig.metrics().await.contains("rekeyd_halted{credential=\"billing-sms\",reason=\"drift\"} 1"));
    let rotate = rig.run(&["rotate", "billing-sms"]);
    assert_eq!(code(&rotate), 5, "{:?}", text(&rotate));
    assert!(text(&rotate).1.contains("hint:"), "{:?}", text(&rotate));
    assert_eq!(rig.live().len(), 2, "nothing is touched while it is halted");
    assert_eq!(code(&rig.run(&["resume", "billing-sms", "--overwrite"])), 0);
    rig.until_settled(2).await;
    let keys = rig.agreed().await;
    assert!(rig.live().contains(&theirs), "her key is not ours to delete");
    assert_eq!(rig.live().len(), keys.len() + 1);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotate_with_wait_shows_the_whole_rotation() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let waited = rig.run(&["rotate", "billing-sms", "--wait"]);
    assert_eq!(code(&waited), 0, "{:?}", text(&waited));
    let (said, _) = text(&waited);
    for word in ["requested  tester asked", "intended", "published", "grace:", "condemned", "completed"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains('\r'), "this is no terminal");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_daemon_and_unknown_names_are_refused() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    drop(daemon);
    let asked = rig.run(&["rotate", "billing-sms"]);
    assert_eq!(code(&asked), 0);
    assert!(text(&asked).0.contains("waits until `rekeyd run` is started"), "{:?}", text(&asked));
    for args in [&["rotate", "nobody"][..], &["resume", "nobody"], &["history", "nobody"]] {
        let refused = rig.run(args);
        assert_eq!(code(&refused), 1, "{args:?}");
        assert!(text(&refused).1.contains("hint: `rekeyd status` lists"), "{:?}", text(&refused));
    }
    assert!(text(&rig.run(&["resume", "billing-sms"])).0.contains("is not halted"));
    for (place, why) in [("nonsense", "is no place"), ("aws:elsewhere", "was never published to")] {
        let refused = rig.run(&["resume", "billing-sms", "--forget", place]);
        assert_eq!(code(&refused), 1);
        assert!(text(&refused).1.contains(why), "{:?}", text(&refused));
    }
    let served = rig.run(&["resume", "billing-sms", "--forget", "files:billing-sms.json"]);
    assert!(text(&served).1.contains("take the place out of publish_to"), "{:?}", text(&served));
    let waiting = rig.run(&["rotate", "billing-sms", "--wait"]);
    assert_eq!(code(&waiting), 1);
    assert!(text(&waiting).1.contains("nothing to wait for"), "{:?}", text(&waiting));
    let daemon = rig.start();
    rig.until_settled(2).await;
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_main_key_shows_in_status_and_log() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    private(&rig.path("main_key"), "wrongwrongwrongwrongwrongwrong00");
    let daemon = rig.start();
    rig.until("the breaker is noted", || rig.status().is_some_and(|all| all["breakers"] != serde_json::json!([])))
        .await;
    rig.until("the status says so", || code(&rig.run(&["status"])) == 5).await;
    let (_, notes) = text(&rig.run(&["status"]));
    assert!(notes.contains("main_key_refused") && notes.contains("Standard key"), "{notes}");
    assert!(rig.log().contains("nothing is created or deleted: Twilio does not accept the Main key"), "{}", rig.log());
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_tells_every_step_and_touches_no_file() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let left = rig.path("secrets").join(".rekeyd.new");
    private(&left, "of a crash");
    let by_hand = rig.foreign("made by hand");
    let policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
    std::fs::write(rig.path("policy.toml"), format!("{policy}adopt = \"{by_hand}\"\n")).unwrap();
    let (said, _) = text(&rig.run(&["plan"]));
    let steps = [
        format!("1. adopt {by_hand}, made by hand"),
        "2. create a key and prove it".to_owned(),
        "3. publish it to aws:".to_owned(),
        format!("4. delete {by_hand}, no sooner than 3s after every place serves the new one"),
    ];
    for step in steps {
        assert!(said.contains(&step), "{step}: {said}");
    }
    let files: Vec<_> = std::fs::read_dir(rig.path("secrets")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files, [left]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_journal_leaves_at_once() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    let second = rig.run(&["run"]);
    assert_eq!(code(&second), 4);
    assert!(text(&second).1.contains("another rekeyd has it open"), "{:?}", text(&second));
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_main_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    std::fs::set_permissions(rig.path("main_key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = rig.run(&["run"]);
    assert_eq!(code(&refused), 1);
    let (_, errors) = text(&refused);
    assert!(errors.contains("main_key") && errors.contains("chmod"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_writes_a_policy_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("try/policy.toml");
    let listen = format!("127.0.0.1:{}", crate::support::server::free_port());
    let rekeyd = || Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    let mut policies = Vec::new();
    // The second one takes the account and the Main key from the policy that the first one wrote.
    for _ in 0..2 {
        let mut sandbox = rekeyd();
        sandbox.args(["sandbox", "--listen", &listen, "--dir"]).arg(dir.path().join("try"));
        let mut sandbox = sandbox.stdout(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(sandbox.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.starts_with("try: rekeyd run")));
        let planned = rekeyd().args(["plan", "--config"]).arg(&policy).output().unwrap();
        sandbox.kill().unwrap();
        sandbox.wait().unwrap();
        assert_eq!(code(&planned), 0, "{:?}", text(&planned));
        policies.push(std::fs::read_to_string(&policy).unwrap());
    }
    assert_eq!(policies[0], policies[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_opens_a_door_for_each_region_and_says_what_to_write_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.toml");
    let [listen, there] = [(); 2].map(|()| format!("127.0.0.1:{}", crate::support::server::free_port()));
    let rekeyd = || Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    // In the second run the Main key of the region is another one.
    for run in 0..2 {
        let mut sandbox = rekeyd();
        sandbox.args(["sandbox", "--listen", &listen, "--region", &format!("ie1={there}"), "--dir"]).arg(dir.path());
        let mut sandbox = sandbox.stdout(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(sandbox.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told: Vec<_> = lines.take_while(|line| !line.starts_with("try: rekeyd run")).collect();
        let table = told.pop().unwrap();
        assert!(told.pop().unwrap().starts_with(&format!("region ie1 listens on http://{there}, Main key SK")));
        if run == 0 {
            let table = table.trim().replace("] ", "]\n").replace(", base_url", "\nbase_url");
            let written = std::fs::read_to_string(&policy).unwrap();
            let place = "publish_to = [{ sink = \"files\", name = \"ireland.json\" }]";
            let more = format!("[[credentials]]\nname = \"ireland\"\nregion = \"ie1\"\n{place}");
            std::fs::write(&policy, format!("{written}\n{more}\n{table}\n")).unwrap();
        }
        let planned = rekeyd().args(["plan", "--config"]).arg(&policy).output().unwrap();
        sandbox.kill().unwrap();
        sandbox.wait().unwrap();
        assert_eq!(code(&planned), 0, "{:?}", text(&planned));
        assert!(text(&planned).0.contains("@ie1: 1 keys, 0 ours"), "{:?}", text(&planned));
    }
    for wrong in ["ie1", "ie1=here", "us1=127.0.0.1:0", "IE1=127.0.0.1:0"] {
        assert_eq!(code(&rekeyd().args(["sandbox", "--region", wrong]).output().unwrap()), 2, "{wrong}");
    }
}

#[test]
fn the_sandbox_listens_on_loopback_only() {
    let refused =
        Command::new(env!("CARGO_BIN_EXE_rekeyd")).args(["sandbox", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(code(&refused), 1);
    assert!(text(&refused).1.contains("loopback only"), "{:?}", text(&refused));
}

#[test]
fn the_command_line_says_what_it_takes() {
    let rekeyd = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_rekeyd")).args(args).output().unwrap();
    assert_eq!(code(&rekeyd(&["nonsense"])), 2);
    let (help, _) = text(&rekeyd(&["--help"]));
    for command in
        ["run", "check", "plan", "status", "rotate", "resume", "history", "main-key", "sandbox", "demo", "Exit status"]
    {
        assert!(help.contains(command), "{command}: {help}");
    }
}
