//! The source files, and where each stands in the module tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One source file.
pub struct File {
    /// Relative to the workspace: `src/hub/actor.rs`.
    pub name: String,
    /// The module that it is, from the crate's root: `["hub", "actor"]`. Empty for `lib.rs`.
    pub module: Vec<String>,
    pub text: String,
}

impl File {
    pub fn parse(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// All source files below a folder of the workspace, sorted by name.
pub fn files(folder: &str) -> Vec<File> {
    let folder = root().join(folder);
    let mut paths = Vec::new();
    collect(&folder, &mut paths);
    paths.sort();
    let files = paths.into_iter().map(|path| {
        let mut module: Vec<String> =
            path.strip_prefix(&folder).unwrap().with_extension("").iter().map(text_of).collect();
        if module == ["lib"] {
            module.clear();
        }
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        File { name, module, text: fs::read_to_string(&path).unwrap() }
    });
    files.collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn text_of(part: &std::ffi::OsStr) -> String {
    part.to_str().unwrap().to_owned()
}
