//! The bill of one call: whatever becomes of it, it is written into the ledger exactly once.

use std::sync::Arc;

use domain::usage::{Amount, Money, Tokens, Usage};

use crate::broker::Broker;
use crate::config::Provider;
use crate::meter;
use crate::prices::Price;
use crate::route::Call;
use crate::session::Session;

/// What a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tariff {
    /// By a price.
    Known(Price),
    /// Nobody knows.
    Unknown,
}

impl Tariff {
    /// Returns what tokens cost, as far as is known.
    #[must_use]
    pub fn money(&self, tokens: &Tokens) -> Money {
        match self {
            Self::Known(price) => price.of(tokens),
            Self::Unknown => Money(0),
        }
    }
}

/// A bill that is still open.
#[derive(Debug)]
pub struct Bill {
    broker: Arc<Broker>,
    session: Arc<Session>,
    by: (String, String),
    call: u64,
    is_work: bool,
    tariff: Tariff,
    tokens: Tokens,
    is_exact: bool,
    is_void: bool,
}

impl Bill {
    /// Opens the bill of a call.
    #[must_use]
    pub fn new(
        broker: &Arc<Broker>,
        session: &Arc<Session>,
        provider: &Provider,
        model: &str,
        call: Call,
        tariff: Tariff,
    ) -> Self {
        Self {
            broker: Arc::clone(broker),
            session: Arc::clone(session),
            by: (provider.name.clone(), model.to_owned()),
            call: session.next_call(),
            is_work: call.is_work(),
            tariff,
            tokens: Tokens::default(),
            is_exact: false,
            is_void: false,
        }
    }

    /// Returns the call's number in its session.
    #[must_use]
    pub const fn call(&self) -> u64 {
        self.call
    }

    /// Closes the bill of a call that took nothing.
    pub fn cancel(mut self) {
        self.is_void = true;
    }

    /// Closes the bill of a call that was sent and never answered.
    pub fn estimate(mut self, request_bytes: usize) {
        self.tokens.input = meter::input_estimate(request_bytes);
    }

    /// Notes what the call has taken so far, and returns which budget is used up.
    pub fn so_far(&mut self, tokens: Tokens, is_exact: bool) -> Option<String> {
        if !self.is_work || (self.tokens == tokens && self.is_exact == is_exact) {
            return None;
        }
        (self.tokens, self.is_exact) = (tokens, is_exact);
        let amount = Amount {
            tokens: tokens.total(),
            money: self.tariff.money(&tokens),
        };
        self.broker.pending(&self.session, self.call, amount)
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let is_counted = self.is_work && !self.is_void;
        let usage = Usage {
            calls: u64::from(is_counted),
            estimated: u64::from(is_counted && !self.is_exact),
            unpriced: u64::from(is_counted && self.tariff == Tariff::Unknown),
            tokens: self.tokens,
            money: self.tariff.money(&self.tokens),
        };
        let usage = if is_counted { usage } else { Usage::default() };
        self.broker
            .settle(&self.session, self.call, &self.by, usage);
    }
}
