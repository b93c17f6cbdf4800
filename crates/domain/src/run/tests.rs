//! Runs: rules by given/when/then.
