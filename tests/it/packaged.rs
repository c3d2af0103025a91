//! What a package carries beside the program: completions, manual pages and the schema of the policy, all made by the
//! program; examples; and the licences of what the program is made from.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn rekeyd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rekeyd")).args(args).output().unwrap()
}

/// What it printed; it must have succeeded, and must not have complained.
fn printed(output: Output) -> String {
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A script in a folder of its own, for a shell.
fn script(folder: &Path, shell: &str) -> String {
    let file = folder.join(shell);
    std::fs::write(&file, printed(rekeyd(&["completions", shell]))).unwrap();
    file.display().to_string()
}

#[test]
fn every_shell_here_takes_the_completions_made_for_it() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let read = Command::new(shell).args(["-n", &script(folder.path(), shell)]).output().unwrap();
        assert_eq!(printed(read), "", "{shell}");
    }
    for shell in ["elvish", "powershell"] {
        assert!(printed(rekeyd(&["completions", shell])).contains("rekeyd;subaccount;create"), "{shell}");
    }
    assert_eq!(rekeyd(&["completions", "cmd"]).status.code(), Some(2));
}

#[test]
fn bash_completes_commands_their_commands_and_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = script(folder.path(), "bash");
    for (typed, offered) in [
        ("sta", "status"),
        ("journal ver", "verify"),
        ("status --js", "--json"),
        ("completions el", "elvish"),
        ("--lo", "--log"),
    ] {
        // As bash does when TAB is pressed: the words, the number of the last one, the function that it was told to ask.
        let ask = r#"source "$0"; COMP_WORDS=(rekeyd $1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            function=$(complete -p rekeyd | grep -o -- '-F [^ ]*' | cut -c4-)
            $function rekeyd "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"; echo "${COMPREPLY[@]}""#;
        let asked = Command::new("bash").args(["-c", ask, &script, typed]).output().unwrap();
        assert_eq!(printed(asked).trim(), offered, "rekeyd {typed}");
    }
}

#[test]
fn fish_completes_and_says_what_each_word_does() {
    let folder = tempfile::tempdir().unwrap();
    let ask = format!("source {}; complete -C 'rekeyd sta'", script(folder.path(), "fish"));
    let asked = Command::new("fish").env("HOME", folder.path()).args(["-c", &ask]).output().unwrap();
    let (word, meaning) = ("status", "Shows every credential");
    let told = printed(asked);
    assert!(told.lines().any(|line| line.starts_with(&format!("{word}\t{meaning}"))), "{told}");
}

/// The commands that a help text lists, and what each says of itself.
fn commands(help: &str) -> Vec<&str> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What has more than one line goes on further in.
    let begun = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    begun.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help").collect()
}

/// A page for each command that the help of this one lists, this one's own included.
fn pages(above: &[&str], found: &mut BTreeSet<String>) {
    let help = printed(rekeyd(&[above, &["--help"]].concat()));
    found.insert(format!("{}.1", [&["rekeyd"], above].concat().join("-")));
    commands(&help).into_iter().for_each(|command| pages(&[above, &[command]].concat(), found));
}

#[test]
fn every_command_has_a_manual_page_without_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    // It is made where it is missing, and filled again where it is there.
    let folder = folder.path().join("man/man1");
    for _ in 0..2 {
        assert_eq!(printed(rekeyd(&["man", folder.to_str().unwrap()])), "");
    }
    let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
    pages(&[], &mut wanted);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        found.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        let looked = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output().unwrap();
        let told = String::from_utf8(looked.stdout).unwrap();
        // A date would make another page of the same source. The library breaks lines around a list of values.
        let wrong =
            |line: &&str| !["missing date", "skipping paragraph macro: br"].iter().any(|known| line.contains(known));
        assert_eq!(told.lines().filter(wrong).collect::<Vec<_>>(), [""; 0], "{}", path.display());
    }
    assert_eq!(found, wanted);
    assert!(found.len() > 20, "{found:?}");
    let shown = std::fs::read_to_string(folder.join("rekeyd.1")).unwrap();
    assert_eq!(printed(rekeyd(&["man"])).trim_end(), shown.trim_end());
}

#[test]
fn a_manual_page_says_what_help_says() {
    let folder = tempfile::tempdir().unwrap();
    printed(rekeyd(&["man", folder.path().to_str().unwrap()]));
    let as_text = |page: &str| {
        let page = folder.path().join(page);
        let shown = Command::new("mandoc").args(["-T", "utf8", "-O", "width=1000"]).arg(page).output().unwrap();
        // Bold letters are printed twice, one over the other.
        let text = printed(shown);
        let letters: Vec<char> = text.chars().collect();
        let over = |at: usize| letters.get(at + 1) == Some(&'\u{8}') || letters[at] == '\u{8}';
        (0..letters.len()).filter(|at| !over(*at)).map(|at| letters[at]).collect::<String>()
    };
    for (command, sections) in [
        (&[][..], &["EXIT STATUS", "FILES", "ENVIRONMENT"][..]),
        (&["run"], &["SIGNALS", "SEE ALSO"]),
        (&["journal"], &["SUBCOMMANDS", "SEE ALSO"]),
    ] {
        let page = as_text(&format!("{}.1", [&["rekeyd"], command].concat().join("-")));
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (said, help) = (words(&page), printed(rekeyd(&[command, &["--help"]].concat())));
        for line in help.lines().filter(|line| line.starts_with("  ") && !line.trim().starts_with(['[', '-'])) {
            let told = line.trim().splitn(2, "  ").map(words).all(|part| said.contains(&part));
            // The page has no command `help`, and calls the others by the names of their pages.
            let listed = commands(&help).iter().any(|name| line.trim().starts_with(name)) || line.contains("  help ");
            assert!(told || listed, "{command:?}: `{line}` is not in\n{page}");
        }
        for section in sections {
            assert_eq!(page.lines().filter(|line| line == section).count(), 1, "{section} in {page}");
        }
    }
    let page = as_text("rekeyd-run.1");
    let foot: Vec<_> = page.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(foot, ["rekeyd", env!("CARGO_PKG_VERSION"), "rekeyd-run(1)"]);
}

#[test]
fn the_schema_that_is_printed_is_the_one_that_is_held_to_the_reader() {
    assert_eq!(printed(rekeyd(&["schema"])), include_str!("../../config/policy.schema.json"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in [&["man"][..], &["completions", "bash"], &["schema"]] {
        let mut begun = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        let mut begun = begun.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(begun.stdout.take());
        let ended = begun.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{args:?}: {ended:?}");
    }
}

fn file(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

#[test]
fn the_licence_of_every_crate_in_the_program_goes_with_it() {
    let told = printed(Command::new(file("deploy/licences")).output().unwrap());
    let tree = ["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"];
    let tree = Command::new(env!("CARGO")).args(tree).current_dir(file("")).output().unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let named = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some(format!("{name} {}", rest.split_whitespace().next()?))
    };
    let crates: BTreeSet<String> = tree.lines().filter_map(named).filter(|of| !of.starts_with("rekeyd ")).collect();
    assert!(crates.len() > 200, "{tree}");
    let lines: Vec<&str> = told.lines().collect();
    for of in &crates {
        let begins = |begin: String| lines.iter().any(|line| line.starts_with(&begin));
        assert!(begins(format!("{of}: ")), "{of} is not listed");
        assert!(begins(format!("{of}, ")), "{of} has no text");
    }
    let listed = |line: &&&str| line.split_once(": ").is_some_and(|(of, _)| crates.contains(of));
    assert_eq!(lines.iter().filter(listed).count(), crates.len(), "something is listed twice");
    for once in ["May you do good and not evil.", "Rust's standard library, rustc 1."] {
        assert_eq!(told.matches(once).count(), 1, "{once}");
    }
    for part in [", aws-lc/LICENSE\n", ", aws-lc/third_party/fiat/LICENSE\n"] {
        assert!(told.contains(part), "{part}");
    }
    // What they hold cannot be told from their names.
    for words in ["Redistributions in binary form must reproduce", "Permission to use, copy, modify, and/or distribute"]
    {
        assert!(told.contains(words), "no text says: {words}");
    }
}

#[test]
fn the_licences_go_with_the_archive_the_package_and_the_image() {
    let [release, build, image] = ["deploy/release", "deploy/debian/build", "deploy/image-root"].map(text);
    assert!(release.contains("deploy/licences \"$target\" >\"$pack/THIRD-PARTY.txt\"\n"));
    assert!(build.contains("deploy/licences \"${for[@]:1}\" >\"$pages/THIRD-PARTY.txt\"\n"));
    assert!(image.contains("deploy/licences\" >\"$docs/rekeyd/THIRD-PARTY.txt\"\n"));
    let containerfile = text("deploy/Containerfile");
    assert!(containerfile.contains("COPY deploy/image-root deploy/licences deploy/\n"));
    assert!(containerfile.contains("COPY Cargo.toml Cargo.lock LICENSE ./\n"));
}

/// How it makes one is seen in a test of its own, of `systemd`: the pages lie where the target's program does.
#[test]
fn a_release_has_its_package_made_by_the_script_that_makes_the_pages() {
    let release = text("deploy/release");
    assert!(release.contains("deploy/debian/build --no-build --target \"$target\" --output \"$dist/\"\n"));
    assert!(!release.contains("cargo deb --no-build"), "it would miss the pages");
}

#[test]
fn every_example_but_the_templates_is_in_the_package_with_the_schema() {
    let (manifest, release) = (text("Cargo.toml"), text("deploy/release"));
    let mut templates = BTreeSet::new();
    for entry in std::fs::read_dir(file("config")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let asset = format!("[\"config/{name}\", \"usr/share/doc/rekeyd/examples/\", \"644\"]");
        // The program fills these in by itself.
        let template = name.ends_with(".toml") && text(&format!("config/{name}")).contains("{dir}");
        assert_eq!(manifest.contains(&asset), !template, "{name}");
        if template {
            templates.insert(name.trim_end_matches(".toml").to_owned());
        }
    }
    let left_out = templates.into_iter().collect::<Vec<_>>().join(",");
    assert!(release.contains(&format!("rm -f \"$pack\"/config/{{{left_out}}}.toml")), "{left_out}");
    for name in ["policy.example.toml", "policy.schema.json"] {
        assert!(manifest.contains(&format!("[\"config/{name}\", \"etc/rekeyd/{name}\", \"644\"]")), "{name}");
    }
}
