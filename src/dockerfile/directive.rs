//! The `# key=value` lines at the top of the file.

use super::instruction::Word;

/// What the directives say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `# escape=`: `\` or a backtick.
    pub escape: char,
    /// `# syntax=`: the front end that the file was written for.
    pub syntax: Option<Word>,
    /// `# check=`
    pub check: Option<CheckOptions>,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives { escape: '\\', syntax: None, check: None }
    }
}

/// `# check=skip=Rule,…;error=true`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Rules not to report.
    pub skip: Vec<String>,
    /// `skip=all`
    pub skip_all: bool,
    /// Findings fail the build.
    pub error: bool,
    /// Experimental rules to report.
    pub experimental: Vec<String>,
    /// `experimental=all`
    pub experimental_all: bool,
}
