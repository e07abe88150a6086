//! What every backend must do.

use std::path::PathBuf;
use std::sync::Arc;

use super::rig::Rig;
use crate::run::{Native, RunBackend, RunStatus};

fn native() -> Arc<dyn RunBackend> {
    Arc::new(Native::new(PathBuf::from("/proc/self/exe"), std::env::temp_dir()))
}

macro_rules! cases {
    ($($name:ident)*) => {
        mod native {
            $(#[test] fn $name() { super::$name(super::Rig::new(super::native())); })*
        }
    };
}

cases! {
    the_exit_status_comes_back
    output_is_relayed_as_it_is
}

fn the_exit_status_comes_back(mut rig: Rig) {
    assert_eq!(rig.sh("exit 0").status, RunStatus::Exited(0));
    assert_eq!(rig.sh("exit 7").status, RunStatus::Exited(7));
}

fn output_is_relayed_as_it_is(mut rig: Rig) {
    let ran = rig.sh("printf 'a\\n'; printf 'b' >&2");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("a\n", "b"));
    assert_eq!(rig.changed(), [""; 0]);
}
