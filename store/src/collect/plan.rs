//! What goes when room is to be made: what is cheapest to make again for the bytes that it frees.
//!
//! Pieces stand on each other (the result of a step needs the snapshots of its chain), and only what nothing stands on
//! can go. What lives for others alone (a snapshot) goes with the last of them, so removing one piece frees all that
//! only it kept. Its price is the time that making it again takes, by the bytes so freed; it falls with the time that it
//! was not used, so that what nobody asks for makes room for what somebody does. A piece that frees nothing stays,
//! unless nothing else is left and it frees something together with others; one that costs nothing (an image without a
//! name whose steps are all known) does not keep the others from it, and goes first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Something that may go.
#[derive(Clone, Debug, Default)]
pub(super) struct Piece {
    /// How much room it takes.
    pub(super) bytes: u64,
    /// How long making it again takes.
    pub(super) cost: Duration,
    /// How long it was not used; `None` for what lives for others alone.
    pub(super) idle: Option<Duration>,
    /// The pieces that it needs.
    pub(super) needs: Vec<usize>,
}

/// What a piece costs for each byte that removing it frees; the piece. The cheapest is the greatest, as heaps have it.
struct Offer {
    /// Whether it frees something only together with others: such pieces come last.
    is_shared: bool,
    price: f64,
    piece: usize,
}

impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Offer {}

impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Offer {
    fn cmp(&self, other: &Self) -> Ordering {
        let shared = other.is_shared.cmp(&self.is_shared);
        shared.then(other.price.total_cmp(&self.price)).then(other.piece.cmp(&self.piece))
    }
}

/// One choice in progress.
struct Market<'a> {
    pieces: &'a [Piece],
    /// How many pieces that stay need a piece.
    needed: Vec<usize>,
    /// Those pieces.
    users: Vec<Vec<usize>>,
    gone: Vec<bool>,
}

/// A day without use halves a price, two take two thirds of it.
fn worth(piece: &Piece) -> f64 {
    let days = piece.idle.unwrap_or_default().as_secs_f64() / 86_400.0;
    piece.cost.as_secs_f64() / (1.0 + days)
}

impl Market<'_> {
    /// Returns what goes with a piece, itself included.
    fn with(&self, piece: usize) -> Vec<usize> {
        let mut all = vec![piece];
        let mut lost = std::collections::HashMap::<usize, usize>::new();
        let mut at = 0;
        while at < all.len() {
            for &need in &self.pieces[all[at]].needs {
                let lost = lost.entry(need).or_default();
                *lost += 1;
                if *lost == self.needed[need] && self.pieces[need].idle.is_none() && !self.gone[need] {
                    all.push(need);
                }
            }
            at += 1;
        }
        all
    }

    /// Offers a piece, if it can go and frees something, if only with others that need the same.
    fn offer(&self, piece: usize) -> Option<Offer> {
        if self.gone[piece] || self.needed[piece] > 0 {
            return None;
        }
        let bytes: u64 = self.with(piece).into_iter().map(|piece| self.pieces[piece].bytes).sum();
        let frees = bytes > 0;
        let bytes = if frees { bytes as f64 } else { self.share(piece) };
        let worth = worth(&self.pieces[piece]);
        let is_shared = !frees && worth > 0.0;
        (bytes > 0.0).then(|| Offer { is_shared, price: worth / bytes, piece })
    }

    /// Returns its share of the bytes of what it needs.
    fn share(&self, piece: usize) -> f64 {
        let of = |need: &usize| self.pieces[*need].bytes as f64 / self.needed[*need] as f64;
        self.pieces[piece].needs.iter().map(of).sum()
    }
}

/// Chooses what goes so that at least so many bytes become free, as far as there is anything that frees some.
/// Of equals, those that come first go first.
pub(super) fn victims(pieces: &[Piece], wanted: u64) -> Vec<bool> {
    let mut market = Market {
        pieces,
        needed: vec![0; pieces.len()],
        users: vec![Vec::new(); pieces.len()],
        gone: vec![false; pieces.len()],
    };
    for (at, piece) in pieces.iter().enumerate() {
        for &need in &piece.needs {
            market.needed[need] += 1;
            market.users[need].push(at);
        }
    }
    let mut offers: BinaryHeap<Offer> = (0..pieces.len()).filter_map(|piece| market.offer(piece)).collect();
    let mut freed = 0_u64;
    while freed < wanted
        && let Some(offer) = offers.pop()
    {
        let piece = offer.piece;
        match market.offer(piece) {
            // Others went, and now more goes with it: for less it comes earlier.
            Some(now) if now > offer => {
                offers.push(now);
                continue;
            }
            Some(_) => {}
            None => continue,
        }
        let all = market.with(piece);
        for &gone in &all {
            market.gone[gone] = true;
            freed = freed.saturating_add(pieces[gone].bytes);
        }
        for gone in all {
            for &need in &pieces[gone].needs {
                market.needed[need] -= 1;
                if market.gone[need] {
                    continue;
                }
                // Its last user frees it, and what is needed no more can go itself.
                offers.extend(market.offer(need));
                if market.needed[need] == 1 {
                    let last = market.users[need].iter().find(|user| !market.gone[**user]);
                    offers.extend(last.and_then(|last| market.offer(*last)));
                }
            }
        }
    }
    market.gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(cost_s: u64, idle_days: u64, needs: &[usize]) -> Piece {
        let idle = Some(Duration::from_secs(idle_days * 86_400));
        Piece { bytes: 0, cost: Duration::from_secs(cost_s), idle, needs: needs.to_vec() }
    }

    fn snapshot(bytes: u64) -> Piece {
        Piece { bytes, ..Piece::default() }
    }

    fn gone(pieces: &[Piece], wanted: u64) -> Vec<usize> {
        let gone = victims(pieces, wanted);
        (0..pieces.len()).filter(|at| gone[*at]).collect()
    }

    #[test]
    fn the_cheapest_for_its_bytes_goes_first() {
        let pieces = [
            snapshot(100),
            snapshot(100),
            snapshot(1000),
            record(9, 0, &[0]),
            record(1, 0, &[1]),
            record(20, 0, &[2]),
        ];
        assert!(gone(&pieces, 0).is_empty());
        assert_eq!(gone(&pieces, 1), [1, 4], "a second for 100 bytes");
        assert_eq!(gone(&pieces, 101), [1, 2, 4, 5], "20 seconds for 1000 bytes are cheaper than 9 for 100");
        assert_eq!(gone(&pieces, 5000), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_not_used_gets_cheaper() {
        let pieces = [snapshot(100), snapshot(100), record(10, 0, &[0]), record(30, 9, &[1])];
        assert_eq!(gone(&pieces, 1), [1, 3]);
    }

    #[test]
    fn what_others_stand_on_frees_nothing_before_them() {
        // 3 stands on 0, 4 on 0 and 1, 5 on 0, 1 and 2.
        let pieces = [
            snapshot(500),
            snapshot(10),
            snapshot(10),
            record(1, 0, &[0]),
            record(9, 0, &[0, 1]),
            record(8, 0, &[0, 1, 2]),
        ];
        assert_eq!(gone(&pieces, 5), [2, 5], "the lower ones free nothing yet");
        assert_eq!(gone(&pieces, 15), [1, 2, 4, 5]);
        assert_eq!(gone(&pieces, 30), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_costs_nothing_stands_in_nobodys_way() {
        // 2 and 3 are steps with a snapshot each, 4 an image that is made of what they are.
        let pieces = [
            snapshot(100),
            snapshot(100),
            record(1, 0, &[0]),
            record(9, 0, &[1]),
            record(0, 0, &[0, 1]),
            snapshot(100),
            record(5, 0, &[5]),
        ];
        assert_eq!(gone(&pieces, 1), [0, 2, 4], "not the step that is dearer and stands alone");
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let snapshots = prop::collection::vec(0_u64..50, 1..6);
        let records = prop::collection::vec((0_u64..9, 0_u64..3, any::<u8>()), 0..8);
        (snapshots, records).prop_map(|(snapshots, records)| {
            let count = snapshots.len();
            let mut pieces: Vec<Piece> = snapshots.into_iter().map(snapshot).collect();
            pieces.extend(records.into_iter().map(|(cost, idle, mask)| {
                let needs: Vec<usize> = (0..count).filter(|at| mask >> at & 1 == 1).collect();
                record(cost, idle, &needs)
            }));
            pieces
        })
    }

    proptest! {
        #[test]
        fn enough_goes_and_nothing_that_stays_lacks_anything(pieces in pieces(), wanted in 0_u64..300) {
            let gone = victims(&pieces, wanted);
            let freed: u64 = pieces.iter().zip(&gone).filter(|(_, gone)| **gone).map(|(piece, _)| piece.bytes).sum();
            // A snapshot that no record ever needed is nobody's, and goes like one that is needed no more.
            let all: u64 = pieces.iter().map(|piece| piece.bytes).sum();
            prop_assert!(freed >= wanted.min(all), "{freed} of {wanted}");
            for (piece, gone_itself) in pieces.iter().zip(&gone) {
                prop_assert!(*gone_itself || piece.needs.iter().all(|need| !gone[*need]));
            }
        }
    }
}
