//! Fallback: when another model is asked than was wanted, and which. Rules alone; nothing is asked
//! here.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::model::{Model, Outage};

/// How many times in a row a model may turn requests away before another stands in.
pub const THROTTLED_MAX: u32 = 3;

/// The longest that a provider may ask to wait; the agent's program waits by itself.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long before a provider that failed is asked again.
pub const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How long a model that could not be had is not asked while another stands in.
pub const REST: Duration = Duration::from_secs(60);

/// What became of asking a model, before anything of a reply was passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nobody could be connected to.
    Unreachable,
    /// A status, and how long the provider asks to wait.
    Status(u16, Option<Duration>),
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The agent is told, whatever it is.
    PassOn,
    /// The same model is asked once more.
    Again,
    /// The next one is.
    Next(Outage),
}

/// Says what follows when there is another model to ask. `tried` counts how often this request was
/// sent to the model, `throttled` how often in a row it has turned requests away, this one included.
#[must_use]
pub fn step(told: Told, tried: u32, throttled: u32) -> Step {
    match told {
        Told::Unreachable => Step::Next(Outage::Unreachable),
        Told::Status(429, wait) => {
            if throttled > THROTTLED_MAX || wait.is_some_and(|it| it > WAIT_MAX) {
                Step::Next(Outage::Throttled)
            } else {
                Step::PassOn
            }
        }
        Told::Status(500..=599, _) if tried > 1 => Step::Next(Outage::Failing),
        Told::Status(500..=599, _) => Step::Again,
        Told::Status(..) => Step::PassOn,
    }
}

/// Returns the models that may be asked for a request, in their order: the wanted one, and those that
/// stand after it in the first class that names it.
#[must_use]
pub fn order(classes: &[Vec<Model>], wanted: &Model) -> Vec<Model> {
    let after = classes.iter().find_map(|class| {
        let at = class.iter().position(|it| it == wanted)?;
        class.get(at + 1..)
    });
    let after = after.unwrap_or_default().iter().cloned();
    std::iter::once(wanted.clone()).chain(after).collect()
}

/// How a session's models are.
#[derive(Debug, Default)]
pub struct Health {
    throttled: BTreeMap<Model, u32>,
    resting: BTreeMap<Model, (Instant, Outage)>,
}

impl Health {
    /// Returns why a model is left alone for now.
    #[must_use]
    pub fn rests(&self, model: &Model, now: Instant) -> Option<Outage> {
        let (until, why) = self.resting.get(model)?;
        (now < *until).then_some(*why)
    }

    /// Takes note of what was told, and returns how often in a row the model has turned requests away.
    pub fn told(&mut self, model: &Model, told: Told) -> u32 {
        if !matches!(told, Told::Status(429, _)) {
            self.throttled.remove(model);
            return 0;
        }
        let count = self.throttled.entry(model.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Leaves a model alone for a while.
    pub fn rest(&mut self, model: &Model, why: Outage, now: Instant) {
        self.throttled.remove(model);
        self.resting.insert(model.clone(), (now + REST, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        Model::parse(text).unwrap()
    }

    #[test]
    fn only_outages_lead_to_another_model() {
        let long = Some(WAIT_MAX + Duration::from_secs(1));
        for (told, tried, throttled, wanted) in [
            (Told::Unreachable, 1, 0, Step::Next(Outage::Unreachable)),
            (Told::Status(500, None), 1, 0, Step::Again),
            (Told::Status(529, None), 1, 0, Step::Again),
            (Told::Status(529, None), 2, 0, Step::Next(Outage::Failing)),
            (Told::Status(503, None), 2, 0, Step::Next(Outage::Failing)),
            (Told::Status(429, None), 1, 1, Step::PassOn),
            (Told::Status(429, None), 1, THROTTLED_MAX, Step::PassOn),
            (
                Told::Status(429, None),
                1,
                THROTTLED_MAX + 1,
                Step::Next(Outage::Throttled),
            ),
            (Told::Status(429, long), 1, 1, Step::Next(Outage::Throttled)),
            (Told::Status(200, None), 1, 0, Step::PassOn),
            (Told::Status(400, None), 2, 0, Step::PassOn),
            (Told::Status(401, None), 2, 0, Step::PassOn),
            (Told::Status(404, None), 2, 0, Step::PassOn),
        ] {
            assert_eq!(step(told, tried, throttled), wanted, "{told:?}");
        }
    }

    #[test]
    fn only_those_after_the_wanted_one_stand_in() {
        let classes = [
            vec![model("p/a"), model("p/b"), model("q/c")],
            vec![model("q/c"), model("p/a")],
        ];
        let named = |wanted: &str| {
            let order = order(&classes, &model(wanted));
            order.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(named("p/a"), ["p/a", "p/b", "q/c"]);
        assert_eq!(named("q/c"), ["q/c"]);
        assert_eq!(named("p/unheard"), ["p/unheard"]);
    }

    #[test]
    fn a_model_rests_for_a_while_and_counts_anew() {
        let (mut health, now, a) = (Health::default(), Instant::now(), model("p/a"));
        for count in 1..=4 {
            assert_eq!(health.told(&a, Told::Status(429, None)), count);
        }
        assert_eq!(health.rests(&a, now), None);
        health.rest(&a, Outage::Throttled, now);
        assert_eq!(health.rests(&a, now), Some(Outage::Throttled));
        assert_eq!(health.rests(&a, now + REST), None);
        assert_eq!(health.told(&a, Told::Status(429, None)), 1);
        assert_eq!(health.told(&a, Told::Status(200, None)), 0);
    }
}
