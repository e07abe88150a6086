//! Platforms (`linux/arm64/v8`): parsing, normal forms, and which image of an index to take.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform as in an OCI index, in GOOS/GOARCH terms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
    /// Version of the operating system (Windows).
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the operating system (Windows).
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A platform string was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {0:?} is malformed: expected os/architecture[/variant], such as linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// A platform of its three names, in normal form.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant);
        Self { architecture, os: normalise_os(os), os_version: None, os_features: Vec::new(), variant }
    }

    /// The platform that this program was compiled for; its images run here.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        // Containers are Linux, also where the builder itself runs on another system.
        Self::new("linux", architecture, None)
    }

    /// This platform with aliases replaced and default variants left out (`arm64/v8` is `arm64`).
    #[must_use]
    pub fn normalised(&self) -> Self {
        let (architecture, variant) = normalise(&self.architecture, self.variant.as_deref());
        Self { architecture, os: normalise_os(&self.os), variant, ..self.clone() }
    }

    /// How well an image made for `offered` serves `self`: 0 is best, `None` is not at all.
    ///
    /// The preference is containerd's: an ARM image of an older variant serves a newer one, an amd64 image
    /// of a lower level serves a higher one, and 386 serves amd64 as a last resort.
    pub fn rank(&self, offered: &Self) -> Option<usize> {
        let (want, have) = (self.normalised(), offered.normalised());
        if want.os != have.os {
            return None;
        }
        want.compatible().iter().position(|(architecture, variant)| {
            *architecture == have.architecture && *variant == have.variant
        })
    }

    /// The architectures that run here, best first.
    fn compatible(&self) -> Vec<(String, Option<String>)> {
        let pair =
            |architecture: &str, variant: Option<&str>| (architecture.to_owned(), variant.map(str::to_owned));
        let arms = |from: u32| (5..=from).rev().map(|v| ("arm".to_owned(), Some(format!("v{v}"))));
        let level = |default: u32| {
            self.variant.as_deref().and_then(|v| v.strip_prefix('v')?.parse::<u32>().ok()).unwrap_or(default)
        };
        match self.architecture.as_str() {
            "amd64" => {
                let mut list: Vec<_> = (2..=level(1).min(9))
                    .rev()
                    .map(|v| ("amd64".to_owned(), Some(format!("v{v}"))))
                    .collect();
                list.push(pair("amd64", None));
                list.push(pair("386", None));
                list
            }
            "arm" => arms(level(7).min(8)).collect(),
            "arm64" => {
                let mut list = vec![(self.architecture.clone(), self.variant.clone())];
                if let Some((major, minor)) = self.variant.as_deref().and_then(arm64_version) {
                    let lower = (8..=major).rev().flat_map(|major_below| {
                        let top = if major_below == major { minor } else { 9 };
                        (0..=top).rev().map(move |minor_below| (major_below, minor_below))
                    });
                    list.extend(lower.skip(1).map(|(major, minor)| {
                        let variant = match (major, minor) {
                            (8, 0) => None,
                            (_, 0) => Some(format!("v{major}")),
                            _ => Some(format!("v{major}.{minor}")),
                        };
                        ("arm64".to_owned(), variant)
                    }));
                }
                list.extend(arms(8));
                list
            }
            _ => vec![(self.architecture.clone(), self.variant.clone())],
        }
    }
}

fn arm64_version(variant: &str) -> Option<(u32, u32)> {
    let version = variant.strip_prefix('v')?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?)).filter(|(major, _)| (8..=9).contains(major))
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normalise(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.map(str::to_ascii_lowercase).filter(|v| !v.is_empty());
    let variant = variant.as_deref();
    let (architecture, variant) = match (architecture.as_str(), variant) {
        ("i386" | "386", _) => ("386", None),
        ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", Some("8" | "v8" | "v8.0") | None) => ("arm64", None),
        ("aarch64" | "arm64", Some("9" | "9.0" | "v9.0")) => ("arm64", Some("v9")),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", Some("7") | None) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("arm", Some("5")) => ("arm", Some("v5")),
        ("arm", Some("6")) => ("arm", Some("v6")),
        ("arm", Some("8")) => ("arm", Some("v8")),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.map(str::to_owned))
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let refused = || PlatformError(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let fine = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if !parts.iter().all(fine) {
            return Err(refused());
        }
        match parts[..] {
            // A lone word is an operating system or an architecture; only these systems are known.
            [word] => match normalise_os(word).as_str() {
                os @ ("linux" | "windows" | "darwin" | "freebsd") => {
                    Ok(Self::new(os, &Self::host().architecture, None))
                }
                "local" => Ok(Self::host()),
                _ => Ok(Self::new("linux", word, None)),
            },
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(want: &str, offers: &[&'a str]) -> Option<&'a str> {
        let want: Platform = want.parse().unwrap();
        offers
            .iter()
            .filter_map(|offer| Some((want.rank(&offer.parse().unwrap())?, *offer)))
            .min()
            .map(|(_, offer)| offer)
    }

    #[test]
    fn aliases_have_one_normal_form() {
        for (alias, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
        ] {
            assert_eq!(alias.parse::<Platform>().unwrap().to_string(), normal);
        }
    }

    #[test]
    fn older_variants_serve_newer_ones_but_not_the_reverse() {
        assert_eq!(best("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"]), Some("linux/arm/v6"));
        assert_eq!(best("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(
            best("linux/amd64/v3", &["linux/386", "linux/amd64", "linux/amd64/v2"]),
            Some("linux/amd64/v2")
        );
        assert_eq!(best("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]), Some("linux/arm64/v8"));
        assert_eq!(best("linux/amd64/v3", &["linux/386", "linux/amd64"]), Some("linux/amd64"));
        assert_eq!(best("linux/amd64", &["linux/386", "linux/amd64/v2"]), Some("linux/386"));
        assert_eq!(best("linux/arm64/v9", &["linux/arm64", "linux/arm64/v8.1"]), Some("linux/arm64/v8.1"));
        assert_eq!(best("linux/arm64", &["linux/arm/v6", "linux/arm/v7"]), Some("linux/arm/v7"));
        assert_eq!(best("linux/amd64", &["windows/amd64", "linux/arm64"]), None);
    }

    #[test]
    fn malformed_platforms_are_refused() {
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} was accepted");
        }
    }
}
