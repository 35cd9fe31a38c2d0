//! The folder for a server's data.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use procfs::process::{MountInfo, Process};
use tempfile::TempDir;

/// Creates a fresh folder: in the system's temporary folder, or beside this binary if that is in memory, where a sync costs nothing and a
/// durable server would look faster than it is.
pub fn fresh(binary: &Path) -> Result<TempDir> {
    let temporary = env::temp_dir();
    let mounts = Process::myself()?.mountinfo()?.0;
    let place = match binary.parent() {
        Some(beside) if in_memory(&temporary, &mounts) && !in_memory(beside, &mounts) => beside,
        _ => &temporary,
    };
    let folder = tempfile::Builder::new().prefix("rialto-load-").tempdir_in(place);
    folder.with_context(|| format!("no temporary folder in {}: set TMPDIR to another", place.display()))
}

fn in_memory(folder: &Path, mounts: &[MountInfo]) -> bool {
    let folder: PathBuf = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    // Of several mounts at one path the last hides the others.
    let mount = mounts
        .iter()
        .filter(|mount| folder.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.as_os_str().len());
    mount.is_some_and(|mount| ["tmpfs", "ramfs"].contains(&mount.fs_type.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_decides() {
        let line = |place, kind| MountInfo::from_line(&format!("1 0 8:1 / {place} rw - {kind} none rw")).unwrap();
        let mounts = [line("/", "ext4"), line("/no/where", "tmpfs"), line("/no/where/disk", "ext4")];
        let found = ["/no", "/no/where", "/no/where/else", "/no/where/disk/x"];
        assert_eq!(found.map(|folder| in_memory(Path::new(folder), &mounts)), [false, true, true, false]);
        let over = [line("/", "ext4"), line("/tmp", "ext4"), line("/tmp", "tmpfs")];
        assert!(in_memory(Path::new("/tmp"), &over));
    }
}
