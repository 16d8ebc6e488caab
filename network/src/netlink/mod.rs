//! A dozen netlink messages of our own.
//!
//! [`message`] builds and reads bytes, [`route`], [`nftables`], [`redirect`] and [`conntrack`] know the messages we need (pure), [`socket`]
//! is the only part that talks to the kernel, but for `departure`. A crate for all of netlink would bring an asynchronous runtime
//! below the floor where one is allowed, and thirty times the messages.

pub mod conntrack;
mod departure;
pub mod message;
pub mod nftables;
pub mod redirect;
pub mod route;
pub mod socket;
mod sys;

pub(crate) use departure::Departure;
