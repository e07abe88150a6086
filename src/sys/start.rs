//! Running code of a test binary before its `main`, hence before the test harness makes threads.

/// The environment variable with which tests ask for their own process to enter namespaces.
pub(crate) const TEST_ENTER: &str = "OCISTAGE_TEST_ENTER";

/// The environment variable with which tests ask for a filter that refuses `unshare`, as containers have it.
pub(crate) const TEST_REFUSE: &str = "OCISTAGE_TEST_REFUSE";

/// Call a function of type `extern "C" fn()` before `main` of a test binary.
macro_rules! at_start {
    ($function:path) => {
        #[allow(unsafe_code)]
        const _: () = {
            // SAFETY: the section is the one of which the loader calls every entry once, with the C calling
            // convention, after libc and the standard library have set themselves up.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static ENTRY: extern "C" fn() = $function;
        };
    };
}
pub(crate) use at_start;
