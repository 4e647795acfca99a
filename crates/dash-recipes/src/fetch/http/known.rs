//! Describes what is known of a file before it arrives: its possible sizes, the version whose download was begun, and
//! how long a server may take.

use super::{
    answer::header,
    failure::{Failure, Response},
};
use crate::Error;
use dash_store::Partial;
use serde::{Deserialize, Serialize};
use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a server may keep us waiting, and how often it may fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until there is a connection, and from then until there is an answer.
    pub(crate) answer: Duration,
    /// In so much time bytes must come at the least rate, or a server is too slow.
    pub(crate) bytes: Duration,
    /// Bytes per second, on average over that time, and over all tries of an address.
    pub(crate) rate: u64,
    /// Before a server is asked again.
    pub(crate) pause: Duration,
    /// Tries in a row that bring nothing new.
    pub(crate) tries: usize,
}

/// The most that is taken of a file whose size nobody knows, neither the catalogue nor the server.
pub(super) const UNKNOWN_MOST: u64 = 4 << 30;

impl Patience {
    /// Bytes that must have come in a time.
    pub(super) fn least(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.rate as f64) as u64
    }
}

/// What is known of a file before it comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// Bytes that it may have; any number if not known.
    pub(crate) sizes: Option<RangeInclusive<u64>>,
}

impl Expected {
    /// Refuses a size that the file cannot have.
    pub(super) fn check(&self, size: u64) -> Result<(), Failure> {
        let problem = match &self.sizes {
            _ if size == 0 => "the file that it sends is empty".to_owned(),
            Some(sizes) if !sizes.contains(&size) => {
                let (least, most) = (sizes.start(), sizes.end());
                let known = if least == most { format!("{least}") } else { format!("{least} to {most}") };
                format!("the file that it sends has {size} bytes, the catalogue knows of {known}")
            }
            _ => return Ok(()),
        };
        Err(Failure::Final(problem))
    }

    /// The size, where it is known to the byte.
    pub(super) fn exact(&self) -> Option<u64> {
        self.sizes.as_ref().filter(|sizes| sizes.start() == sizes.end()).map(|sizes| *sizes.end())
    }
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            answer: Duration::from_secs(60),
            bytes: Duration::from_secs(60),
            rate: 1000,
            pause: Duration::from_secs(2),
            tries: 3,
        }
    }
}

/// Which version of a file the bytes of a [`Partial`] belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Version {
    pub(super) address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
}

impl Version {
    pub(super) fn path(target: &Path) -> PathBuf {
        let mut path = Partial::path_of(target).into_os_string();
        path.push(".json");
        path.into()
    }

    /// The recorded version; if the record cannot be read, the download starts again.
    pub(super) fn read(target: &Path) -> Option<Version> {
        let path = Version::path(target);
        // Reading anything but a plain file may wait for ever.
        let plain = std::fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() < 1 << 16);
        if !plain {
            return None;
        }
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    pub(super) fn write(&self, target: &Path) -> Result<(), Error> {
        let path = Version::path(target);
        let text = serde_json::to_vec(self).map_err(|e| Error::Download {
            path: path.clone(),
            problem: format!("the record of the download cannot be written: {e}"),
        })?;
        Ok(dash_store::publish_file(&path, &text)?)
    }

    pub(super) fn of(address: &str, response: &Response, total: Option<u64>) -> Version {
        Version {
            address: address.to_owned(),
            etag: header(response, "etag"),
            modified: header(response, "last-modified"),
            total,
        }
    }

    /// The validator with which the rest may be requested: a server that has another version then sends all of it. Weak
    /// entity tags do not promise equal bytes.
    pub(super) fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        strong.or(self.modified.as_deref())
    }

    /// Whether a server that has sent the rest means another version after all.
    pub(super) fn differs(&self, other: &Version) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        differ(&self.etag, &other.etag) || differ(&self.modified, &other.modified)
    }
}
