//! Settings of the kernel for one link of a namespace: `net.ipv4.conf.IFNAME.log_martians=1`.

use std::fmt;
use std::path::PathBuf;

use crate::link::LinkName;

/// What stands for the link's name where a setting is written.
const PLACE: &str = "IFNAME";

/// A setting of one link (`net.FAMILY.GROUP.IFNAME.NAME=VALUE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSetting {
    family: String,
    group: String,
    name: String,
    value: String,
}

/// A text is no setting of a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// It does not name a setting of one link.
    #[error(
        "unrecognised network interface sysctl '{0}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
    )]
    Name(String),
    /// It has no value.
    #[error("expected sysctl '{0}' to have format name=value")]
    Value(String),
}

impl LinkSetting {
    /// Reads several, with commas between them.
    pub fn list(text: &str) -> Vec<Result<Self, SettingError>> {
        text.split(',').map(Self::read).collect()
    }

    fn read(text: &str) -> Result<Self, SettingError> {
        let unknown = || SettingError::Name(text.to_owned());
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        let parts: Vec<&str> = key.split('.').collect();
        let ["net", family @ ("ipv4" | "ipv6" | "mpls"), group, place, name] = *parts else {
            return Err(unknown());
        };
        if !place.eq_ignore_ascii_case(PLACE) || !is_word(group) || !is_word(name) {
            return Err(unknown());
        }
        let value = value.ok_or_else(|| SettingError::Value(text.to_owned()))?;
        let [family, group, name, value] = [family, group, name, value].map(str::to_owned);
        Ok(Self { family, group, name, value })
    }

    /// Whether it takes IPv6 addresses away, and lets none come.
    pub fn takes_ipv6_away(&self) -> bool {
        let parts = [&*self.family, &*self.group, &*self.name];
        parts == ["ipv6", "conf", "disable_ipv6"] && self.value.trim() != "0"
    }

    /// The file by which a thread of the link's namespace makes it.
    pub(super) fn path(&self, link: &LinkName) -> PathBuf {
        let Self { family, group, name, value: _ } = self;
        ["/proc/sys/net", family, group, link.as_str(), name].iter().collect()
    }

    pub(super) fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for LinkSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, group, name, value } = self;
        write!(f, "net.{family}.{group}.{PLACE}.{name}={value}")
    }
}

/// Whether a part of a name leads nowhere but to a file of the kernel that is called so.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<String, SettingError>> {
        LinkSetting::list(text).into_iter().map(|one| one.map(|setting| setting.to_string())).collect()
    }

    #[test]
    fn settings_name_the_link_by_a_word_in_its_place() {
        let eth0 = LinkName::eth(0);
        let one = &LinkSetting::list("net.ipv6.conf.IFNAME.accept_ra=2")[0].clone().unwrap();
        assert_eq!(one.path(&eth0).to_str(), Some("/proc/sys/net/ipv6/conf/eth0/accept_ra"));
        assert_eq!(one.value(), "2");
        assert_eq!(
            read("net.ipv4.conf.ifname.log_martians=1,net.ipv4.neigh.IFNAME.gc_stale_time=30"),
            [
                Ok("net.ipv4.conf.IFNAME.log_martians=1".to_owned()),
                Ok("net.ipv4.neigh.IFNAME.gc_stale_time=30".to_owned())
            ]
        );
    }

    #[test]
    fn nothing_but_a_setting_of_the_link_is_named() {
        for text in [
            "",
            "junk",
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.eth0.log_martians=1",
            "net.core.conf.IFNAME.x=1",
            "kernel.ipv4.conf.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.a.b=1",
            "net.ipv4..IFNAME.forwarding=1",
            "net.ipv4.conf.IFNAME.=1",
            "net.ipv4.conf.IFNAME./../../x=1",
            "net.ipv4.conf/../..IFNAME.x=1",
        ] {
            assert_eq!(read(text), [Err(SettingError::Name(text.to_owned()))], "{text}");
        }
        let valueless = "net.ipv4.conf.IFNAME.log_martians";
        assert_eq!(read(valueless), [Err(SettingError::Value(valueless.to_owned()))]);
    }
}
