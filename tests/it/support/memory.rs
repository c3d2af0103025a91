//! The memory of another process, as root sees it.

use std::process::{Command, Stdio};

/// Everything that a process can write to: heap, stacks, and what it mapped. Root alone may read it, so a test that does
/// not run as root asks `sudo`, as `tests/peers/install` does.
const READ: &str = r#"
while read -r range mode _; do
    case $mode in rw*) ;; *) continue ;; esac
    from=$((0x${range%-*})) to=$((0x${range#*-}))
    dd if="/proc/$1/mem" bs=65536 iflag=skip_bytes,count_bytes,fullblock skip=$from count=$((to - from)) status=none
done <"/proc/$1/maps"
"#;

/// Reads it all, while the process goes on.
pub(crate) fn writable(pid: u32) -> Vec<u8> {
    let pid = pid.to_string();
    let mut command = match rustix::process::geteuid().is_root() {
        true => Command::new("sh"),
        false => {
            let mut command = Command::new("sudo");
            command.args(["-n", "sh"]);
            command
        }
    };
    let output = command.args(["-c", READ, "sh", &pid]).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.len() > 1 << 20, "the memory of process {pid} can not be read: {said}");
    output.stdout
}
