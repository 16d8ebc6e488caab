//! What holds the room when there is none left: by the names that people know, so that they can choose what goes.

use std::collections::HashMap;
use std::fmt;

use rusqlite::Transaction;

use super::{Budget, RoomError};
use crate::Store;
use crate::collect::{Collected, Keeper, Mark};
use crate::database::DatabaseError;
use crate::process::ObjectKind;
use crate::space::Bytes;

/// So many are told one by one.
const TOLD: usize = 5;

/// Something that holds room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it is called: `image debian:12`.
    pub name: String,
    /// How much it holds that none before it does.
    pub bytes: Bytes,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.bytes)
    }
}

/// The objects that nobody was found to hold yet, with their bytes.
type Open = HashMap<(ObjectKind, Vec<u8>), u64>;

impl Store {
    /// Lists what holds room, the largest first; each object counts for the first that needs it.
    pub(super) fn holders(&self, budget: &Budget, reserved: u64) -> Result<Vec<Holder>, RoomError> {
        let counted = self.census(budget.owners)?;
        let leased = counted.iter().filter(|one| one.leased);
        let leased = leased.map(|one| (one.kind, one.candidate.object.clone())).collect();
        let mut open: Open =
            counted.into_iter().map(|one| ((one.kind, one.candidate.object), one.candidate.bytes)).collect();
        let (mut holders, running) = self.read(|transaction| -> Result<_, DatabaseError> {
            let mut holders = Vec::new();
            for owner in budget.owners {
                for Keeper { name, objects } in owner.keepers(transaction)? {
                    let bytes = take(transaction, budget.owners, objects, &mut open)?;
                    holders.push(Holder { name, bytes: Bytes(bytes) });
                }
            }
            Ok((holders, take(transaction, budget.owners, leased, &mut open)?))
        })?;
        let running = Bytes(running.saturating_add(reserved));
        holders.push(Holder { name: "what runs at this moment".to_owned(), bytes: running });
        holders.retain(|holder| holder.bytes.0 > 0);
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
        Ok(holders)
    }
}

/// Takes objects and all that they need out of those that are open, and adds up their bytes.
fn take(
    transaction: &Transaction<'_>,
    owners: &[&dyn Collected],
    objects: Vec<(ObjectKind, Vec<u8>)>,
    open: &mut Open,
) -> Result<u64, DatabaseError> {
    let mut mark = Mark::default();
    objects.iter().for_each(|(kind, object)| mark.keep(*kind, object));
    mark.follow(transaction, owners)?;
    Ok(mark.into_kept().filter_map(|held| open.remove(&held)).sum())
}

/// Tells who holds the room; nothing where nobody is known.
pub(super) fn told(holders: &[Holder]) -> String {
    let (named, others) = holders.split_at(holders.len().min(TOLD));
    if named.is_empty() {
        return String::new();
    }
    let mut parts: Vec<String> = named.iter().map(ToString::to_string).collect();
    if !others.is_empty() {
        let bytes = Bytes(others.iter().map(|holder| holder.bytes.0).sum());
        parts.push(format!("{} others {bytes}", others.len()));
    }
    format!(" ({})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_told_and_the_rest_is_summed_up() {
        let holder = |bytes| Holder { name: format!("image {bytes}"), bytes: Bytes(bytes) };
        assert_eq!(told(&[]), "");
        assert_eq!(told(&[holder(9)]), " (image 9 9 B)");
        let many: Vec<Holder> = (1..=7).rev().map(holder).collect();
        assert_eq!(
            told(&many),
            " (image 7 7 B, image 6 6 B, image 5 5 B, image 4 4 B, image 3 3 B, 2 others 3 B)"
        );
    }
}
