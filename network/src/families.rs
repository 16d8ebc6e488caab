//! What a thing has of the two families of addresses: of one or of both, never of none.
//!
//! A network has a subnet for each, an endpoint of it an address. A third state, with neither, would be a network that
//! nobody is reached in; it cannot be written down.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What there is of IPv4, of IPv6, or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families<F, S> {
    /// IPv4 alone.
    Four(F),
    /// IPv6 alone.
    Six(S),
    /// Both.
    Both(F, S),
}

impl<F, S> Families<F, S> {
    /// Puts together what there is; nothing of nothing.
    pub fn of(four: Option<F>, six: Option<S>) -> Option<Self> {
        match (four, six) {
            (Some(four), Some(six)) => Some(Self::Both(four, six)),
            (Some(four), None) => Some(Self::Four(four)),
            (None, Some(six)) => Some(Self::Six(six)),
            (None, None) => None,
        }
    }

    /// What there is of IPv4.
    pub fn four(&self) -> Option<&F> {
        match self {
            Self::Four(four) | Self::Both(four, _) => Some(four),
            Self::Six(_) => None,
        }
    }

    /// What there is of IPv6.
    pub fn six(&self) -> Option<&S> {
        match self {
            Self::Six(six) | Self::Both(_, six) => Some(six),
            Self::Four(_) => None,
        }
    }

    /// What there is of IPv4, to be changed.
    pub fn four_mut(&mut self) -> Option<&mut F> {
        match self {
            Self::Four(four) | Self::Both(four, _) => Some(four),
            Self::Six(_) => None,
        }
    }

    /// What there is of IPv6, to be changed.
    pub fn six_mut(&mut self) -> Option<&mut S> {
        match self {
            Self::Six(six) | Self::Both(_, six) => Some(six),
            Self::Four(_) => None,
        }
    }

    /// Looks at both.
    pub fn as_ref(&self) -> Families<&F, &S> {
        match self {
            Self::Four(four) => Families::Four(four),
            Self::Six(six) => Families::Six(six),
            Self::Both(four, six) => Families::Both(four, six),
        }
    }

    /// Makes something else of each.
    pub fn map<G, T>(self, four: impl FnOnce(F) -> G, six: impl FnOnce(S) -> T) -> Families<G, T> {
        match self {
            Self::Four(one) => Families::Four(four(one)),
            Self::Six(one) => Families::Six(six(one)),
            Self::Both(one, other) => Families::Both(four(one), six(other)),
        }
    }

    /// Makes something else of each that may fail.
    pub fn try_map<G, T, E>(
        self,
        four: impl FnOnce(F) -> Result<G, E>,
        six: impl FnOnce(S) -> Result<T, E>,
    ) -> Result<Families<G, T>, E> {
        Ok(match self {
            Self::Four(one) => Families::Four(four(one)?),
            Self::Six(one) => Families::Six(six(one)?),
            Self::Both(one, other) => Families::Both(four(one)?, six(other)?),
        })
    }

    /// What is there of each family of which another thing has something, too.
    pub fn zip<G, T>(self, other: Families<G, T>) -> Option<Families<(F, G), (S, T)>> {
        let ((four, six), (four_there, six_there)) = (self.parts(), other.parts());
        Families::of(four.zip(four_there), six.zip(six_there))
    }

    /// What there is of each.
    pub fn parts(self) -> (Option<F>, Option<S>) {
        match self {
            Self::Four(four) => (Some(four), None),
            Self::Six(six) => (None, Some(six)),
            Self::Both(four, six) => (Some(four), Some(six)),
        }
    }

    /// Whether there is something of the family of an address.
    pub fn has(&self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.four().is_some() } else { self.six().is_some() }
    }
}

impl<T> Families<T, T> {
    /// What there is of the family of an address.
    pub fn at(&self, address: IpAddr) -> Option<&T> {
        if address.is_ipv4() { self.four() } else { self.six() }
    }
}

impl Families<Ipv4Addr, Ipv6Addr> {
    /// The addresses, that of IPv4 first.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let (four, six) = self.parts();
        four.map(IpAddr::from).into_iter().chain(six.map(IpAddr::from))
    }

    /// That of IPv4, or else that of IPv6.
    pub fn first(self) -> IpAddr {
        match self {
            Self::Four(four) | Self::Both(four, _) => four.into(),
            Self::Six(six) => six.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_never_neither() {
        assert_eq!(Families::<u8, u8>::of(None, None), None);
        for (four, six) in [(Some(1), None), (None, Some(2)), (Some(1), Some(2))] {
            let families = Families::of(four, six).unwrap();
            assert_eq!(families.parts(), (four, six));
            assert_eq!((families.four().copied(), families.six().copied()), (four, six));
            assert_eq!(families.has([127, 0, 0, 1].into()), four.is_some());
            assert_eq!(families.has(Ipv6Addr::LOCALHOST.into()), six.is_some());
        }
        assert_eq!(Families::<u8, u8>::Four(1).zip(Families::<u8, u8>::Six(2)), None);
        let both = Families::Both(1, 2).zip(Families::<u8, u8>::Six(3));
        assert_eq!(both, Some(Families::Six((2, 3))));
    }
}
