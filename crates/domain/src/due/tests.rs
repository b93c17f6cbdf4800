//! What is due: rules by given/when/then.
