//! What a command leaves behind that is killed while it makes a container anew.
//!
//! The new container is made beside the old one, under a name that begins with the old one's id. So there may be both, or
//! the new one alone without its name.

use super::cause::Cause;
use super::observed::{Activity, Replica};
use super::wanted::Order;

/// The digits of an id that a name for the time being begins with.
const DIGITS: usize = 12;

/// Whether a container still has its name for the time being; `own` is the one that it is to have, which may look like that.
pub(super) fn is_temporary(name: &str, own: &str) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let has_id = |(begin, _): (&str, &str)| begin.len() == DIGITS && begin.as_bytes().iter().all(is_digit);
    name != own && name.split_once('_').is_some_and(has_id)
}

/// Of two containers that have one place, takes the one out that goes: the new one, unless only it is as it should be. One
/// that is up stays for as long as nobody else is ready, where that is asked for.
///
/// `own` is the name that the container of a number is to have.
pub(super) fn take<'a>(
    all: &mut Vec<(&'a Replica, Option<Cause>)>,
    order: Order,
    own: impl Fn(u64) -> String,
) -> Vec<&'a Replica> {
    let mut gone = Vec::new();
    let new: Vec<(&'a Replica, bool)> = all
        .iter()
        .filter(|(replica, _)| is_temporary(&replica.name, &own(replica.number)))
        .map(|(replica, cause)| (*replica, cause.is_some()))
        .collect();
    for (new, is_diverged) in new {
        let old = all.iter().find(|(other, _)| other.number == new.number && other.id != new.id);
        let Some((old, why)) = old else { continue };
        let serves = order == Order::StartFirst && old.activity == Activity::Running;
        let goes = if why.is_none() || is_diverged || serves { new } else { *old };
        gone.push(goes);
        all.retain(|(replica, _)| replica.id != goes.id);
    }
    gone
}
