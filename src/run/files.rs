//! The two files that every step is given: /etc/resolv.conf and /etc/hosts. They are mounted, read-only, and
//! never part of a layer.

use std::fmt::Write;

use super::{Network, RunSpec};

/// The name of the machine that a step sees.
pub(super) const HOSTNAME: &str = "ocistage";

/// /etc/resolv.conf for a step, from the machine's.
pub(super) fn resolv_conf(network: Network) -> String {
    let read = |path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let own = read("/etc/resolv.conf").unwrap_or_default();
    match network {
        // A resolver on loopback answers here too: the network is the same one.
        Network::Host => own,
        Network::None => String::new(),
    }
}

/// /etc/hosts for a step.
pub(super) fn hosts(spec: &RunSpec) -> String {
    let mut text = format!(
        "127.0.0.1\tlocalhost {HOSTNAME}\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n"
    );
    for (name, address) in &spec.extra_hosts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}
