//! Drivers: how an agent program is run and understood.
