//! What happens when a container's program has ended.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether a container is started again after its program ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It is not.
    #[default]
    No,
    /// It is, whatever the status, also after a reboot.
    Always,
    /// As always, but not after a reboot if it had been stopped by hand.
    UnlessStopped,
    /// It is if the status is not zero.
    OnFailure {
        /// So many times in a row at most; `None` for any number.
        max: Option<u32>,
    },
}

impl RestartPolicy {
    /// Returns Docker's word for it, without the count.
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure { .. } => "on-failure",
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::OnFailure { max: Some(max) } => write!(f, ":{max}"),
            _ => Ok(()),
        }
    }
}

/// The text is no restart policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseRestartPolicyError {
    /// The word is unknown.
    #[error(
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    Unknown(String),
    /// A count stands where none can.
    #[error("invalid restart policy: maximum retry count can only be used with 'on-failure'")]
    CountWithoutFailure,
    /// The count is no number.
    #[error("invalid restart policy format: maximum retry count must be an integer")]
    Count,
    /// The count is negative.
    #[error("invalid restart policy: maximum retry count cannot be negative")]
    Negative,
    /// There is more than one count.
    #[error("invalid restart policy format: {0}")]
    Format(String),
}

impl FromStr for RestartPolicy {
    type Err = ParseRestartPolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use ParseRestartPolicyError as Error;
        let (word, count) = match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => return Err(Error::Format(text.to_owned())),
            Some((word, count)) => (word, Some(count)),
            None => (text, None),
        };
        let max = match count {
            Some(count) => match count.parse::<i64>() {
                Ok(number) if number < 0 => return Err(Error::Negative),
                Ok(number) => u32::try_from(number).ok().filter(|number| *number > 0),
                Err(_) => return Err(Error::Count),
            },
            None => None,
        };
        let policy = match word {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => return Ok(Self::OnFailure { max }),
            other => return Err(Error::Unknown(other.to_owned())),
        };
        if max.is_some() { Err(Error::CountWithoutFailure) } else { Ok(policy) }
    }
}
