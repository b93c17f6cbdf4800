//! What the engine, the launcher and the cell's init say to one another, over packet sockets that
//! also carry descriptors.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ports::cells::{Error, Exit, Wall};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

/// Most bytes of one message. Plans travel in a memory file, so messages are short.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Most descriptors of one message.
const DESCRIPTORS_MAX: usize = 8;

/// What the engine wants of a launcher that has done nothing yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Get ready for a plan: all of a cell's beginning that is the same for every plan.
    Prepare,
    /// Carry out the request that comes along, with the program's three streams.
    Serve,
}

/// How often what was refused.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What the engine asks while a cell runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What was refused since this was last asked?
    Denied,
}

/// What comes back from the launcher, and from the init to the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// What can be done without a plan is done; the answer to [`Call::Prepare`].
    Ready,
    /// The program runs behind these walls. To the launcher it carries the cell's `/proc` and its
    /// user namespace, to the engine the init's pidfd and the cell's `/proc`.
    Started {
        /// The walls that stand.
        walls: Vec<WallReport>,
    },
    /// From here on system calls are refused. Carries what tells of them; to the launcher only.
    Listening,
    /// Nothing runs.
    Failed(Fault),
    /// What was refused since this was last told: the answer to [`Question::Denied`], and once more
    /// before the end.
    Denied(Counts),
    /// The program ended by itself with this code.
    Exited(i32),
    /// The program, or the whole cell, was ended by this signal.
    Signalled(i32),
    /// The cell was ended because its writable layers took this much.
    OverQuota { bytes: u64, files: u64 },
    /// The answer to a probe.
    Probed(Vec<WallReport>),
}

impl Report {
    /// Returns the end this report tells of, if it does.
    pub(crate) fn end(&self) -> Option<Exit> {
        match self {
            Self::Exited(code) => Some(Exit::Code(*code)),
            Self::Signalled(signal) => Some(Exit::Signal(*signal)),
            Self::OverQuota { bytes, files } => Some(Exit::OverQuota {
                bytes: *bytes,
                files: *files,
            }),
            Self::Ready
            | Self::Started { .. }
            | Self::Listening
            | Self::Failed(_)
            | Self::Denied(_)
            | Self::Probed(_) => None,
        }
    }
}

/// One wall, on its way to becoming a [`Wall`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WallReport {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) state: Result<String, String>,
}

impl WallReport {
    /// Returns a required wall that stands.
    pub(crate) fn stands(name: &str, by: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            required: true,
            state: Ok(by.into()),
        }
    }

    /// Returns a required wall that this machine lacks and the operator accepted to be missing.
    pub(crate) fn accepted_missing(name: &str, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            required: true,
            state: Err(format!("missing, accepted by the operator: {why}")),
        }
    }

    /// Returns a required wall that a launcher made for tests left out.
    pub(crate) fn left_out(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            required: true,
            state: Err("left out by a launcher made for tests".to_owned()),
        }
    }

    /// Returns a wall a cell can be made without.
    pub(crate) fn optional(name: &str, state: Result<String, String>) -> Self {
        Self {
            name: name.to_owned(),
            required: false,
            state,
        }
    }
}

impl From<WallReport> for Wall {
    fn from(report: WallReport) -> Self {
        Self {
            name: report.name,
            required: report.required,
            state: report.state,
        }
    }
}

/// Why nothing runs.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Fault {
    /// The kernel cannot build a wall.
    #[error("{wall}: {why}")]
    Wall {
        /// Which.
        wall: String,
        /// What is missing and how to mend it.
        why: String,
    },
    /// The plan cannot be carried out.
    #[error("{doing}: {why}")]
    Setup {
        /// Which step.
        doing: String,
        /// Why it failed.
        why: String,
    },
    /// The program cannot be started.
    #[error("{program}: {why}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        why: String,
    },
}

impl Fault {
    /// Returns a closure that says which wall an error kept from standing.
    pub(crate) fn wall<E: std::fmt::Display>(wall: &str) -> impl FnOnce(E) -> Self {
        move |error| Self::Wall {
            wall: wall.to_owned(),
            why: error.to_string(),
        }
    }

    /// Returns a closure that says which step an error broke.
    pub(crate) fn setup<E: std::fmt::Display>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self::Setup {
            doing: doing.into(),
            why: error.to_string(),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Wall { wall, why } => Self::Unsupported { wall, why },
            Fault::Setup { doing, why } => Self::Setup { doing, why },
            Fault::Program { program, why } => Self::Program { program, why },
        }
    }
}

/// Returns both ends of a new link, closed on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(ends)
}

/// Sends one message with descriptors, waiting for room.
pub(crate) fn send<T: Serialize>(
    link: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    send_with(link, message, descriptors, SendFlags::NOSIGNAL)
}

/// Sends one message, or fails at once when the other side has left too many unread.
pub(crate) fn send_now<T: Serialize>(link: impl AsFd, message: &T) -> io::Result<()> {
    send_with(
        link,
        message,
        &[],
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )
}

fn send_with<T: Serialize>(
    link: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::other(
            "a message between engine and cell is too long",
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors in a message"));
    }
    rustix::net::sendmsg(link, &[IoSlice::new(&bytes)], &mut ancillary, flags)?;
    Ok(())
}

/// Receives one message with its descriptors, closed on exec; `None` when the other side is gone.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(
    link: impl AsFd,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let received = rustix::net::recvmsg(
            &link,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        match received {
            Ok(message) => break message.bytes,
            // The other side ended with an unread message of ours. The kernel says so once, before
            // it gives out what the other side said last.
            Err(rustix::io::Errno::CONNRESET) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let Some(message) = bytes.get(..length).filter(|message| !message.is_empty()) else {
        return Ok(None);
    };
    Ok(Some((serde_json::from_slice(message)?, descriptors)))
}

/// Returns whether the other side is gone, whatever it said before.
pub(crate) fn is_closed(link: &OwnedFd) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::new(link, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut polled, Some(&at_once)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let [polled] = polled;
    Ok(polled.revents().contains(PollFlags::HUP))
}

/// Waits until one of `watched` can be read or has been closed, or `patience` is over; returns
/// which are ready.
pub(crate) fn ready<const N: usize>(
    watched: [BorrowedFd<'_>; N],
    patience: Option<std::time::Duration>,
) -> io::Result<[bool; N]> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = watched.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
    let patience = patience.map(|patience| Timespec {
        tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: patience.subsec_nanos().into(),
    });
    match poll(&mut polled, patience.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.map(|one| !one.revents().is_empty()))
}
