//! Who else may touch the file of a secret: nobody. In two places somebody else sets the modes and nobody else can come in,
//! so there the rule is softer:
//!
//! - **`$CREDENTIALS_DIRECTORY`.** systemd gives the unit's user access by an ACL, whose mask shows as group bits
//!   (systemd.exec(5), `LoadCredential=`). Files there may be readable by the group.
//! - **A Kubernetes volume.** Its files have mode 0644 unless `defaultMode` says otherwise, and `fsGroup` adds group
//!   bits (Kubernetes documentation, "Secrets" and "Configure a Security Context"). Only the containers that mount the
//!   volume can come in. Files there may be readable by anybody. The volume is told by its layout: every entry leads
//!   through the link `..data`, which is how the kubelet replaces all files at once. A single file mounted with
//!   `subPath` has no such layout, is never updated either, and falls under the strict rule.
//!
//! Nobody may *write* to the file anywhere.

use std::path::Path;

/// Whether the mode is fit for a secret at this place (see the head of this file).
pub(super) fn private(path: &Path, mode: u32, credentials: Option<&Path>) -> bool {
    const ANYTHING_FOR_OTHERS: u32 = 0o077;
    const MORE_THAN_GROUP_READ: u32 = 0o037;
    const WRITE_FOR_OTHERS: u32 = 0o022;
    if mode & ANYTHING_FOR_OTHERS == 0 {
        return true;
    }
    let Ok(real) = path.canonicalize() else { return false };
    (mode & MORE_THAN_GROUP_READ == 0 && in_credentials_directory(&real, credentials))
        || (mode & WRITE_FOR_OTHERS == 0 && in_kubernetes_volume(path, &real))
}

/// What to do about a file whose mode is not fit. systemd's own are right, and who is not its service has to say that it is
/// its folder.
pub(super) fn way_out(path: &Path) -> String {
    match path.parent() {
        Some(folder) if folder.starts_with("/run/credentials") => {
            let folder = folder.display();
            format!("as systemd makes it for a service: root can read it with CREDENTIALS_DIRECTORY={folder}")
        }
        _ => format!("so others can get at it: chmod 0400 {}", path.display()),
    }
}

fn in_credentials_directory(real: &Path, credentials: Option<&Path>) -> bool {
    credentials.and_then(|directory| directory.canonicalize().ok()).is_some_and(|directory| real.starts_with(directory))
}

/// The kubelet's layout: some directory on the way has a link `..data`, and the file lies behind it.
fn in_kubernetes_volume(path: &Path, real: &Path) -> bool {
    path.ancestors().skip(1).map(|directory| directory.join("..data")).any(|data| {
        let behind = || data.canonicalize().is_ok_and(|target| real.starts_with(target));
        data.is_symlink() && behind()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_change_the_mode_of_what_systemd_made() {
        let told = way_out(Path::new("/run/credentials/rekeyd.service/main_key"));
        assert!(told.ends_with("CREDENTIALS_DIRECTORY=/run/credentials/rekeyd.service"), "{told}");
        assert_eq!(way_out(Path::new("/etc/key")), "so others can get at it: chmod 0400 /etc/key");
    }
}
