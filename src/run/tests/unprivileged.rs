//! The cases again, by a user who is nobody special.

use super::start::{USER, again_as, skipped};

#[test]
fn every_case_holds_for_an_unprivileged_user_too() {
    if std::env::var_os(crate::sys::TEST_ENTER).is_some() {
        return;
    }
    match again_as(USER, "run::tests::cases::") {
        Err(reason) => skipped("every_case_holds_for_an_unprivileged_user_too", &reason),
        Ok(output) => {
            let said =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            assert!(output.status.success(), "{}\n{}", said[0], said[1]);
            assert!(
                said[1].contains("entered: user namespace with 65537 user and 65537 group ids"),
                "{}",
                said[1]
            );
            assert!(!said[0].contains(" 0 passed"), "{}", said[0]);
        }
    }
}
