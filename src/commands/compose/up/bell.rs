//! What comes to the one who prints from the threads beside: one bell for all of it.

use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use rbuild_engine::projects::{Carried, Turn};

use super::super::output::Door;
use super::menu::Key;
use crate::wiring::Asks;

/// What the output wakes for.
pub(super) enum Ring {
    /// A signal came.
    Signal(Asks),
    /// A key was pressed.
    Key(Key),
    /// The plan was carried out.
    Carried(anyhow::Result<Carried>),
    /// Files are not watched any more.
    Watched(anyhow::Result<()>),
    /// A stop, or a killing, is over.
    Stopped(Turn, anyhow::Result<()>),
}

/// Rings are heard by the one who prints, as soon as there is one.
#[derive(Clone)]
pub(super) struct Bell {
    pub(super) rings: Sender<Ring>,
    pub(super) door: Arc<OnceLock<Door>>,
}

impl Bell {
    /// Rings, and lets the one who prints look.
    pub(super) fn ring(&self, ring: Ring) {
        // Who does not listen any more has seen enough.
        let _ = self.rings.send(ring);
        self.look_again();
    }

    /// Lets the one who prints look once more.
    pub(super) fn look_again(&self) {
        if let Some(door) = self.door.get() {
            door.ring();
        }
    }
}
