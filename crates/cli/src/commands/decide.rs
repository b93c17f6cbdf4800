//! `palisade decide`: see a proposal's dossier and diff, and say yes or no.

use anyhow::Context as _;
use clap::Parser;
use domain::tree::Tree;
use domain::{Digest, Millis, WorkId, policy};
use engine::answers;
use engine::views;
use engine::views::board::OpenDecision;
use engine::views::dossier::Dossier;
use serde::Serialize;

use super::{Common, drive};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

mod acting;
mod show;

/// The most of a diff that is shown, in bytes.
const DIFF_BYTES_MAX: usize = 1 << 20;

/// How long an approval may count at most, in hours: a year.
const EXPIRES_HOURS_MAX: u64 = 8_760;

/// See proposals and actions, and approve or reject them
///
/// Without a verdict, shows what waits and, on a terminal, asks. An approval is for exactly the
/// dossier that was shown, is used once and expires. After a verdict the engine goes on: it lands
/// what was approved, or takes the work back.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The work, or an action; all that wait, if there is none.
    #[arg(value_name = "WORK|ACTION")]
    work: Option<String>,
    /// Approve. Asks whether you have read it, unless --dossier says what was looked at.
    #[arg(long, conflicts_with_all = ["reject", "rework"])]
    approve: bool,
    /// The digest of the dossier that was looked at, as shown.
    #[arg(long, value_name = "DIGEST", requires = "approve")]
    dossier: Option<String>,
    /// Hours until the approval expires, 1 to 8760.
    #[arg(long, value_name = "HOURS", default_value_t = 24,
        value_parser = clap::value_parser!(u64).range(1..=EXPIRES_HOURS_MAX))]
    expires: u64,
    /// Reject: the work is over, or the action is denied.
    #[arg(
        long,
        value_name = "REASON",
        visible_alias = "deny",
        conflicts_with = "rework"
    )]
    reject: Option<String>,
    /// Send the work back with these words; it will be proposed again.
    #[arg(long, value_name = "TEXT")]
    rework: Option<String>,
    /// Show the diff too.
    #[arg(long)]
    diff: bool,
    /// Only record the verdict; `palisade resume` carries it out.
    #[arg(long)]
    no_resume: bool,
}

enum Verdict {
    Approve(Digest),
    Reject(String),
    Rework(String),
    Later,
}

#[derive(Serialize)]
struct Shown {
    decision: OpenDecision,
    dossier: Dossier,
}

pub(crate) fn run(common: &Common, args: &Args) -> Outcome {
    let context = common.context()?;
    let board = context.board()?;
    if let Some(name) = args.work.as_deref().filter(|it| acting::names(it)) {
        return acting::decide_one(common, &context, name, args);
    }
    let wanted = args.work.as_deref().map(|it| board.find(it)).transpose()?;
    let open: Vec<_> = board
        .decisions()
        .into_iter()
        .filter(|it| wanted.is_none_or(|wanted| it.work == wanted))
        .collect();
    let actions = match wanted {
        None => views::actions::waiting(&board, &context.settings.operator),
        Some(_) => Vec::new(),
    };
    if open.is_empty() {
        if args.approve || args.reject.is_some() || args.rework.is_some() {
            return Err(Failure::new(
                Exit::Refused,
                "no proposal waits for a decision",
            ));
        }
        return acting::decide_all(common, &context, &actions);
    }
    let has_verdict = args.approve || args.reject.is_some() || args.rework.is_some();
    if has_verdict && open.len() > 1 {
        return Err(Failure::usage(
            "several proposals wait; name the WORK that you decide on",
        ));
    }
    if common.json && !has_verdict {
        let shown: Result<Vec<_>, Failure> = open
            .into_iter()
            .map(|decision| {
                Ok(Shown {
                    dossier: read(&context, &decision)?,
                    decision,
                })
            })
            .collect();
        terminal::json(&acting::both(&shown?, &actions))?;
        return Ok(Exit::InputRequired);
    }
    let mut decided = Vec::new();
    for decision in &open {
        if !args.approve || args.dossier.is_none() {
            match show_all(&context, args, decision) {
                Ok(()) => {}
                // What cannot be looked at cannot be approved; it keeps nobody from the others.
                Err(failure) if !args.approve => {
                    terminal::complain(&failure.error);
                    if !has_verdict {
                        continue;
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        match verdict(&context, args, decision)? {
            Verdict::Later => {}
            verdict @ (Verdict::Approve(_) | Verdict::Reject(_) | Verdict::Rework(_)) => {
                record(&context, args, decision, verdict)?;
                decided.push(decision.work);
            }
        }
    }
    if !has_verdict {
        acting::offer(&context, &actions)?;
    }
    carry_out(common, &context, args, &decided)
}

fn carry_out(common: &Common, context: &Context, args: &Args, decided: &[WorkId]) -> Outcome {
    if decided.is_empty() {
        return Ok(Exit::InputRequired);
    }
    if args.no_resume {
        return Ok(Exit::Done);
    }
    context.check_walls()?;
    drive::drive(common, context, decided)
}

fn show_all(context: &Context, args: &Args, decision: &OpenDecision) -> Result<(), Failure> {
    show_dossier(context, decision)?;
    if args.diff {
        show_diff(context, &decision.proposal.tree)?;
    }
    Ok(())
}

fn read(context: &Context, decision: &OpenDecision) -> Result<Dossier, Failure> {
    let (artifacts, name) = (&context.recorder.world().artifacts, &decision.name);
    let bytes = artifacts.get(&decision.proposal.dossier);
    let bytes = bytes.with_context(|| {
        format!(
            "{name}: its dossier cannot be read; `palisade audit verify {name}` says what is damaged, \
             and `palisade decide {name} --rework TEXT` has it proposed again"
        )
    })?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn verdict(context: &Context, args: &Args, decision: &OpenDecision) -> Result<Verdict, Failure> {
    if let Some(reason) = &args.reject {
        return Ok(Verdict::Reject(reason.clone()));
    }
    if let Some(text) = &args.rework {
        return Ok(Verdict::Rework(text.clone()));
    }
    if args.approve {
        return match &args.dossier {
            Some(text) => named(text, decision.proposal.dossier).map(Verdict::Approve),
            None => confirm(decision.proposal.dossier),
        };
    }
    if !terminal::is_interactive() {
        return Ok(Verdict::Later);
    }
    ask(context, decision)
}

/// Approves what was shown just now, if somebody is there who has read it.
fn confirm(dossier: Digest) -> Result<Verdict, Failure> {
    if !terminal::is_interactive() {
        return Err(Failure::usage(format!(
            "`--approve` is for a dossier that was looked at: say `--dossier {}`",
            dossier.short()
        )));
    }
    let answer = terminal::ask("approve exactly this? [y]es, [n]o")?;
    Ok(match answer.as_deref().map(str::trim) {
        Some("y" | "yes") => Verdict::Approve(dossier),
        Some(_) | None => Verdict::Later,
    })
}

/// A digest may be given as it is shown: its first twelve digits.
fn named(text: &str, current: Digest) -> Result<Digest, Failure> {
    if text == current.short() {
        return Ok(current);
    }
    text.parse().map_err(|_| {
        let text = format!(
            "the dossier is now {}, not {text}; look again",
            current.short()
        );
        Failure::new(Exit::Refused, text)
    })
}

fn ask(context: &Context, decision: &OpenDecision) -> Result<Verdict, Failure> {
    let choices = if decision.blocks.is_empty() {
        "[a]pprove, [d]iff, re[j]ect, re[w]ork, [l]ater?"
    } else {
        "[d]iff, re[j]ect, re[w]ork, [l]ater?"
    };
    loop {
        let Some(answer) = terminal::ask(choices)? else {
            return Ok(Verdict::Later);
        };
        match answer.trim() {
            "a" | "approve" if decision.blocks.is_empty() => {
                return Ok(Verdict::Approve(decision.proposal.dossier));
            }
            "d" | "diff" => show_diff(context, &decision.proposal.tree)?,
            "j" | "reject" => {
                if let Some(reason) = terminal::ask("why?")?.filter(|it| !it.trim().is_empty()) {
                    return Ok(Verdict::Reject(reason));
                }
            }
            "w" | "rework" => {
                if let Some(text) =
                    terminal::ask("what shall be different?")?.filter(|it| !it.trim().is_empty())
                {
                    return Ok(Verdict::Rework(text));
                }
            }
            "l" | "later" | "q" => return Ok(Verdict::Later),
            _ => {}
        }
    }
}

fn record(
    context: &Context,
    args: &Args,
    decision: &OpenDecision,
    verdict: Verdict,
) -> Result<(), Failure> {
    let (recorder, work, id) = (&context.recorder, decision.work, decision.id);
    match verdict {
        Verdict::Approve(shown) => {
            if !decision.blocks.is_empty() {
                let text = format!("it is blocked: {}", decision.blocks.join("; "));
                return Err(Failure::new(Exit::Refused, text));
            }
            let span = if args.expires == 24 {
                policy::APPROVAL_SPAN
            } else {
                Millis::from_mins(args.expires.saturating_mul(60))
            };
            answers::approve(recorder, work, id, shown, span)?;
        }
        Verdict::Reject(reason) => answers::refuse(recorder, work, id, &reason)?,
        Verdict::Rework(text) => answers::rework(recorder, work, id, &text)?,
        Verdict::Later => {}
    }
    Ok(())
}

/// Prints what a decision is about.
pub(crate) fn show_dossier(context: &Context, decision: &OpenDecision) -> Result<(), Failure> {
    show::dossier(&read(context, decision)?, decision);
    Ok(())
}

fn show_diff(context: &Context, tree: &Tree) -> Result<(), Failure> {
    let workspaces = &context.recorder.world().workspaces;
    let base = workspaces.prepare(&tree.base, &context.settings.secrets)?;
    terminal::data(terminal::exact(&workspaces.diff(
        &base,
        tree,
        DIFF_BYTES_MAX,
    )?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_counts_for_an_hour_to_a_year() {
        let read = |hours: &str| {
            let words = ["decide", "w", "--approve", "--expires", hours];
            Args::try_parse_from(words).map(|it| it.expires).ok()
        };
        assert_eq!((read("1"), read("8760")), (Some(1), Some(8_760)));
        for wrong in ["0", "8761", "18446744073709551615", "-1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
