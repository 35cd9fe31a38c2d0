//! Files and functions stay short enough to read.

use super::source::{File, files};

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

fn all_files() -> impl Iterator<Item = File> {
    ["src", "client/src", "proto/src"].into_iter().flat_map(files)
}

#[test]
fn files_have_at_most_400_lines() {
    let long = all_files().map(|file| (file.text.lines().count(), file.name)).filter(|(lines, _)| *lines > FILE_LINES);
    let long: Vec<_> = long.map(|(lines, file)| format!("{file}: {lines} lines")).collect();
    assert!(long.is_empty(), "files above {FILE_LINES} lines:\n{}", long.join("\n"));
}

/// A function, by the place of its name.
#[derive(Debug, PartialEq)]
struct Function {
    name: String,
    /// The first line of the signature, from 1.
    line: usize,
    /// From the signature to the closing brace.
    lines: usize,
    /// A comment `// Long: reason` stands above it.
    has_reason: bool,
}

/// The functions in formatted code: there, the closing brace of a function is indented as its signature.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let same_indent = |line: &&str| !line.trim().is_empty() && indent(line) == indent(lines[start]);
        let is_end = |line: &str| line.trim_start().starts_with('}') || line.ends_with([';', '}']);
        let end = (start..lines.len()).find(|at| same_indent(&lines[*at]) && is_end(lines[*at])).unwrap_or(start);
        let above = lines[..start].iter().rev().map(|line| line.trim());
        let has_reason = above
            .take_while(|line| line.starts_with("//") || line.starts_with('#'))
            .any(|line| line.strip_prefix("// Long: ").is_some_and(|reason| !reason.is_empty()));
        functions.push(Function { name, line: start + 1, lines: end - start + 1, has_reason });
    }
    functions
}

fn function_name(line: &str) -> Option<String> {
    let line = line.trim_start();
    let (before, after) =
        if let Some(after) = line.strip_prefix("fn ") { ("", after) } else { line.split_once(" fn ")? };
    let is_qualifier = |word: &str| word.starts_with("pub") || ["const", "async", "unsafe", "extern"].contains(&word);
    let is_function =
        before.split(' ').all(|word| word.is_empty() || is_qualifier(word) || before.starts_with("pub(in "));
    is_function.then(|| after.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect())
}

#[test]
fn functions_have_at_most_60_lines_or_a_reason() {
    let mut long = Vec::new();
    for file in all_files() {
        let too_long = functions(&file.text)
            .into_iter()
            .filter(|function| function.lines > FUNCTION_LINES && !function.has_reason);
        long.extend(
            too_long.map(|Function { name, line, lines, .. }| format!("{}:{line}: {name}: {lines} lines", file.name)),
        );
    }
    assert!(
        long.is_empty(),
        "functions above {FUNCTION_LINES} lines without a comment `// Long: reason` above them:\n{}",
        long.join("\n")
    );
}

#[test]
fn functions_are_measured_from_signature_to_closing_brace() {
    let source = "
// Long: it is a table.
#[must_use]
pub(super) async fn table(
    a: u8,
) -> u8 {
    if a > 0 {
    }
    a
}

trait T {
    fn declared(&self) -> u8;

    fn with_default(&self) -> u8 { 1 }

    fn long_signature(
        &self,
    ) -> u8;

    /// Calls fn pointers.
    fn bounded<F>(f: F)
    where
        F: fn() -> u8,
    {
        f();
    }
}
";
    let found = functions(source);
    let found: Vec<_> = found.iter().map(|function| (&*function.name, function.lines, function.has_reason)).collect();
    assert_eq!(
        found,
        [
            ("table", 7, true),
            ("declared", 1, false),
            ("with_default", 1, false),
            ("long_signature", 3, false),
            ("bounded", 6, false)
        ]
    );
}
