//! What happens before `main` of the test binary.

use crate::run::init_if_asked;
use crate::sys::{at_start, exit_now};

extern "C" fn before_main() {
    if let Some(status) = init_if_asked() {
        exit_now(status);
    }
}

at_start!(before_main);
