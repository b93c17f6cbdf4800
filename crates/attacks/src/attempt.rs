//! What an attempt is: what is tried, which walls stop it, what in the world shows that they did,
//! and what shows that this could be seen.

use ports::cells::Limits;

/// One attempt of the hostile agent.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Its name, for good: the group, then what it is.
    pub id: &'static str,
    /// What it does, in a sentence.
    pub told: &'static str,
    /// The walls that stop it.
    pub walls: &'static str,
    /// The verb of the hostile program and its arguments, with places of the scene in braces.
    pub act: &'static [&'static str],
    /// What must hold afterwards, and must not in the control.
    pub oracle: Oracle,
    /// What the cell has beyond the usual.
    pub given: &'static [Given],
    /// How it is ended.
    pub ending: Ending,
    /// How the oracle is shown to be able to fail.
    pub control: Control,
}

/// What in the world shows whether an attempt was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// No canary is in anything that came out: what was printed, and what was collected.
    NothingLeaks,
    /// Nothing outside of the cell's own changes is changed on the host.
    HostUnchanged,
    /// No program that the agent wrote or named ran on the host.
    NothingRuns,
    /// No listener on the host heard anything.
    NothingHeard,
    /// Seen from the host, the process has no right, namespace, mount, descriptor or trait that it
    /// did not have before.
    NothingGained,
    /// The kernel answered the word of the wall, `EPERM` or `ENOSYS`, and not another. Only for
    /// doors that must not be opened even in a control: it rests on the program's own report, and
    /// on the kernel's record of refusals where there is one.
    Refused,
    /// Nothing of the cell is left when it has ended.
    DiesWhole,
    /// The cell ended, or could be ended, within its budget.
    EndsInTime,
    /// Processes, memory, files and descriptors, counted from the host, stay within their limits.
    StaysBounded,
    /// What was left behind is collected without a hang or a failure.
    CollectsWell,
}

impl Oracle {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::NothingLeaks,
        Self::HostUnchanged,
        Self::NothingRuns,
        Self::NothingHeard,
        Self::NothingGained,
        Self::Refused,
        Self::DiesWhole,
        Self::EndsInTime,
        Self::StaysBounded,
        Self::CollectsWell,
    ];

    /// Returns what it promises.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::NothingLeaks => "nothing secret came out",
            Self::HostUnchanged => "the host is unchanged",
            Self::NothingRuns => "nothing of the agent's ran on the host",
            Self::NothingHeard => "no listener heard anything",
            Self::NothingGained => "the process gained nothing",
            Self::Refused => "the kernel refused the call",
            Self::DiesWhole => "nothing is left of it",
            Self::EndsInTime => "it ended in time",
            Self::StaysBounded => "it stayed within its limits",
            Self::CollectsWell => "what it left was collected",
        }
    }
}

/// Something that a cell of an attempt has.
#[derive(Clone, Copy, Debug)]
pub enum Given {
    /// A folder or file of the scene, read-only, at a path in the cell.
    Shown(&'static str, &'static str),
    /// The same, to be written.
    Writable(&'static str, &'static str),
    /// The same with a layer of its own over it.
    Layered(&'static str, &'static str),
    /// A path in the cell that is covered.
    Masked(&'static str),
    /// The tree and the git directory that a session really gets.
    Session,
    /// The git directory of the scene's repository as it is, at `/workspace/.git`, read-only.
    OwnGit,
    /// Writing in the tree only beneath `src`, and not at `src/kept`.
    Scoped,
    /// The base itself for a workspace, without layers.
    PlainBase,
    /// Other limits.
    Limited(fn(Limits) -> Limits),
    /// Left out on a machine that cannot show the attempt, such as one without IPv6.
    Needs(Need),
}

/// What a machine must have for an attempt to mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A loopback for IPv6.
    SixthVersion,
    /// Something at a path, such as a program that cells see as well.
    Path(&'static str),
}

/// How an attempt is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its input is closed after it has been looked at.
    Released,
    /// It is killed, as at the end of its time.
    Killed,
    /// It must end by itself or by a limit.
    ByItself,
}

/// How the same attempt is shown to succeed without its walls.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// The parts that the launcher leaves out, as `cell::launcher::main_weak` names them.
    pub without: &'static str,
    /// What the cell is given beside.
    pub given: &'static [Given],
    /// Whether the program runs outside of any cell.
    pub outside: bool,
    /// Whether a careless engine stands in: it follows links, waits for writers, lets git read what
    /// agents wrote, keeps all output, and asks politely for an end.
    pub careless: bool,
    /// Whether only a machine's root can make it succeed.
    pub as_root_only: bool,
    /// Why there is none.
    pub none: Option<&'static str>,
}

impl Control {
    const PLAIN: Self = Self {
        without: "",
        given: &[],
        outside: false,
        careless: false,
        as_root_only: false,
        none: None,
    };

    /// Without these parts of the launcher.
    #[must_use]
    pub const fn without(parts: &'static str) -> Self {
        Self {
            without: parts,
            ..Self::PLAIN
        }
    }

    /// With this given: the wall of a specification is switched off by the specification.
    #[must_use]
    pub const fn given(given: &'static [Given]) -> Self {
        Self {
            given,
            ..Self::PLAIN
        }
    }

    /// Outside of any cell.
    #[must_use]
    pub const fn outside() -> Self {
        Self {
            outside: true,
            ..Self::PLAIN
        }
    }

    /// In the hands of a careless engine.
    #[must_use]
    pub const fn careless() -> Self {
        Self {
            careless: true,
            ..Self::PLAIN
        }
    }

    /// There is none.
    #[must_use]
    pub const fn none(why: &'static str) -> Self {
        Self {
            none: Some(why),
            ..Self::PLAIN
        }
    }

    /// The same, without these parts as well.
    #[must_use]
    pub const fn and_without(self, parts: &'static str) -> Self {
        Self {
            without: parts,
            ..self
        }
    }

    /// The same, which only root can make succeed.
    #[must_use]
    pub const fn as_root_only(self) -> Self {
        Self {
            as_root_only: true,
            ..self
        }
    }
}

impl Attempt {
    /// Returns its group, such as `S5`.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }
}

/// Returns an attempt with what most have: nothing given, released at the end.
#[must_use]
pub(crate) const fn attempt(
    id: &'static str,
    told: &'static str,
    walls: &'static str,
    act: &'static [&'static str],
    oracle: Oracle,
    control: Control,
) -> Attempt {
    Attempt {
        id,
        told,
        walls,
        act,
        oracle,
        given: &[],
        ending: Ending::Released,
        control,
    }
}

impl Attempt {
    /// The same, given this.
    #[must_use]
    pub(crate) const fn given(self, given: &'static [Given]) -> Self {
        Self { given, ..self }
    }

    /// The same, ended so.
    #[must_use]
    pub(crate) const fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
    }
}
