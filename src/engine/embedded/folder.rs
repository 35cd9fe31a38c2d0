//! Creates the data folder and its file, readable by their owner only, and locks the folder.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use super::error::OpenError;

/// Locks the folder for this process, and creates it first if it is missing. The lock lasts until the file is closed.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |cause| OpenError::Folder { folder: folder.to_owned(), cause };
    if !folder.is_dir() {
        create_private(folder).map_err(failed)?;
        // SQLite syncs its files and the folder, but not the folder's entry in its parent.
        let path = folder.canonicalize().map_err(failed)?;
        path.parent().map_or(Ok(()), |above| File::open(above)?.sync_all()).map_err(failed)?;
    }
    let lock = File::create(folder.join("rialto.lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Creates a folder that only its owner can read, since it will hold password hashes and keys. Missing parents get the usual rights.
fn create_private(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        fs::create_dir_all(above)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // `recursive` also accepts a folder that was created concurrently.
    builder.recursive(true).create(folder)
}

/// Creates the file, if it is missing, readable by its owner only. SQLite creates its other files with the same rights.
pub(super) fn create_private_file(file: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(file)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&opened.metadata()?.permissions()) & 0o007 != 0 {
        tracing::warn!(file = %file.display(), "the data file is accessible to all users of this machine: run `chmod o-rwx` on it");
    }
    Ok(())
}
