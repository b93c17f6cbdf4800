//! What a promotion leans on, checked piece by piece.

use domain::Digest;
use domain::tree::Commit;
use engine::views::detail::{Detail, PromotionLine};
use engine::views::dossier::Dossier;
use ports::workspaces::{CommitText, Target};

use super::Checklist;
use crate::context::{self, Context};
use crate::moment::{counted, day_and_time};

/// Checks one promotion.
pub(super) fn check(
    context: &Context,
    detail: &Detail,
    line: &PromotionLine,
    list: &mut Checklist,
) {
    dossier(context, detail, line, list);
    change(context, line, list);
    approval(line, list);
    commit(context, line, list);
}

/// Returns whether a proposal may still be landed.
pub(super) fn waits(line: &PromotionLine) -> bool {
    matches!(
        line.state.as_str(),
        "blocked" | "ready" | "approved" | "dispatched"
    )
}

/// Checks that all a decision is made on is there and what its digests say.
pub(super) fn check_waiting(context: &Context, line: &PromotionLine, list: &mut Checklist) {
    let proposal = &line.proposal;
    let what = format!(
        "the proposed dossier {} is stored",
        proposal.dossier.short()
    );
    let read = stored(context, &proposal.dossier)
        .and_then(|bytes| serde_json::from_slice::<Dossier>(&bytes).map_err(|it| it.to_string()));
    match read {
        Err(why) => list.add(what, Err(why)),
        Ok(read) => {
            list.add(what, Ok(()));
            let evidence = read.evidence.iter().flat_map(|it| [it.tests, it.log]);
            let all: Vec<_> = evidence.chain([read.spec]).collect();
            list.add(
                "its evidence and specification are stored and have their digests",
                all_stored(context, &all),
            );
        }
    }
    change(context, line, list);
}

/// Returns whether an artifact is stored and has its digest.
fn stored(context: &Context, digest: &Digest) -> Result<Vec<u8>, String> {
    let artifacts = &context.recorder.world().artifacts;
    artifacts.get(digest).map_err(|it| it.to_string())
}

fn all_stored(context: &Context, digests: &[Digest]) -> Result<(), String> {
    let found = digests.iter().filter_map(|it| stored(context, it).err());
    let faults: Vec<_> = found.collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; "))
    }
}

fn dossier(context: &Context, detail: &Detail, line: &PromotionLine, list: &mut Checklist) {
    let proposal = &line.proposal;
    let name = proposal.dossier.short();
    let what = format!("dossier {name} is stored and has its digest");
    let bytes = match stored(context, &proposal.dossier) {
        Ok(bytes) => bytes,
        Err(why) => return list.add(what, Err(why)),
    };
    list.add(what, Ok(()));
    let what = "the dossier speaks of this work and tree, with every gate passed on it";
    let read: Dossier = match serde_json::from_slice(&bytes) {
        Ok(read) => read,
        Err(error) => return list.add(what, Err(error.to_string())),
    };
    list.add(what, speaks_of(&read, detail, line));
    let mut evidence: Vec<_> = read
        .evidence
        .iter()
        .flat_map(|it| [it.tests, it.log])
        .collect();
    evidence.sort_unstable();
    evidence.dedup();
    let gates = counted(read.evidence.len(), "gate");
    let what = format!("the evidence of {gates} is stored and has its digests");
    list.add(what, all_stored(context, &evidence));
    list.add(
        "the specification is stored and has its digest",
        all_stored(context, &[read.spec]),
    );
}

fn speaks_of(read: &Dossier, detail: &Detail, line: &PromotionLine) -> Result<(), String> {
    let tree = line.proposal.tree.digest;
    let mut wrong = Vec::new();
    if read.work != line.proposal.work {
        wrong.push(format!("it is of {}", read.work));
    }
    if read.facts.tree != tree {
        wrong.push(format!("it is of tree {}", read.facts.tree.short()));
    }
    if read.manifest != line.proposal.tree.manifest {
        wrong.push("it names another manifest".to_string());
    }
    if Some(read.spec) != detail.spec {
        wrong.push("it names another specification".to_string());
    }
    for gate in &read.facts.gates_required {
        let seen = read.facts.gates.iter().find(|it| it.gate == *gate);
        match seen {
            Some(fact) if fact.tree == tree && fact.reasons.is_empty() => {}
            Some(_) => wrong.push(format!("gate `{gate}` did not pass on it")),
            None => wrong.push(format!("gate `{gate}` has not looked at it")),
        }
    }
    let stray = read.evidence.iter().filter(|it| it.tree != tree);
    wrong.extend(stray.map(|it| format!("evidence of `{}` is of another tree", it.gate)));
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}

fn change(context: &Context, line: &PromotionLine, list: &mut Checklist) {
    let what = "the manifest and every file in it are stored and have their digests";
    let workspaces = &context.recorder.world().workspaces;
    let found = workspaces
        .reachable(&line.proposal.tree)
        .map_err(|it| it.to_string())
        .and_then(|digests| all_stored(context, &digests));
    list.add(what, found);
}

fn approval(line: &PromotionLine, list: &mut Checklist) {
    let what = "a human approved exactly this dossier";
    let Some(approval) = &line.approval else {
        return list.add(what, Err("no approval is on record".to_string()));
    };
    let matching = if approval.dossier == line.proposal.dossier {
        Ok(())
    } else {
        let other = approval.dossier.short();
        Err(format!("{} approved {other}", approval.by))
    };
    list.add(format!("{what} ({})", approval.by), matching);
    let what = "the approval counted when the change was landed";
    let found = match line.dispatched {
        None => Err("no landing is on record".to_string()),
        Some(at) if at < approval.at || approval.expires <= at => Err(format!(
            "it was given at {}, expired at {}, and used at {}",
            day_and_time(approval.at),
            day_and_time(approval.expires),
            day_and_time(at)
        )),
        Some(_) => Ok(()),
    };
    list.add(what, found);
}

fn commit(context: &Context, line: &PromotionLine, list: &mut Checklist) {
    let proposal = &line.proposal;
    let text = line.commit.as_deref().unwrap_or_default();
    let what = "the promoted commit is in the repository";
    let commit: Commit = match text.parse() {
        Ok(commit) => commit,
        Err(error) => return list.add(what, Err(format!("{error}"))),
    };
    let raw = match context::raw_commit(&context.place, &commit) {
        Ok(raw) => raw,
        Err(why) => return list.add(what, Err(why)),
    };
    list.add(format!("{what} ({})", commit.short()), Ok(()));
    list.add(
        "the commit stands on the base alone",
        stands_on(&raw, &proposal.tree.base),
    );
    let mut wanted = vec![
        ("Palisade-Work", proposal.work.to_string()),
        ("Palisade-Dossier", proposal.dossier.to_string()),
        ("Palisade-Tree", proposal.tree.digest.to_string()),
    ];
    wanted.extend(
        line.approval
            .iter()
            .map(|it| ("Approved-by", it.by.clone())),
    );
    list.add(
        "the commit's trailers name work, dossier, tree and approver",
        names(&raw, &wanted),
    );
    list.add(
        "the commit holds exactly the approved tree",
        holds(context, line, &commit, &raw),
    );
    let what = format!("{} contains the commit", proposal.lands_on);
    list.add(what, contained(context, line, &commit));
}

/// Returns whether the approved tree, written once more with the same words, is this very commit:
/// then no byte of it is another.
fn holds(
    context: &Context,
    line: &PromotionLine,
    commit: &Commit,
    raw: &str,
) -> Result<(), String> {
    let text = text(raw).ok_or("its author line cannot be read")?;
    let workspaces = &context.recorder.world().workspaces;
    let again = workspaces
        .publish(&line.proposal.tree, &text)
        .map_err(|it| it.to_string())?;
    if again == *commit {
        Ok(())
    } else {
        Err(format!("the approved tree makes {}", again.short()))
    }
}

/// Reads back who and what a raw commit speaks of.
fn text(raw: &str) -> Option<CommitText> {
    let (headers, message) = raw.split_once("\n\n")?;
    let author = headers.lines().find_map(|it| it.strip_prefix("author "))?;
    let (name, rest) = author.rsplit_once(" <")?;
    let (email, time) = rest.split_once("> ")?;
    let seconds = time.split_whitespace().next()?.parse().ok()?;
    Some(CommitText {
        name: name.to_string(),
        email: email.to_string(),
        seconds,
        message: message.to_string(),
    })
}

/// Returns whether a raw commit has this one parent.
fn stands_on(raw: &str, base: &Commit) -> Result<(), String> {
    let headers = raw.split("\n\n").next().unwrap_or_default();
    let parents: Vec<_> = headers
        .lines()
        .filter_map(|it| it.strip_prefix("parent "))
        .collect();
    if parents == [base.as_str()] {
        Ok(())
    } else {
        Err(format!("its parents are {}", parents.join(", ")))
    }
}

/// Returns whether the last paragraph of a raw commit says each of these once and nothing else of
/// the same name.
fn names(raw: &str, wanted: &[(&str, String)]) -> Result<(), String> {
    let last = raw.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let mut wrong = Vec::new();
    for (name, value) in wanted {
        let said: Vec<_> = last
            .lines()
            .filter_map(|it| it.strip_prefix(name)?.strip_prefix(": "))
            .collect();
        if said != [value.as_str()] {
            wrong.push(match said.is_empty() {
                true => format!("{name} is missing"),
                false => format!("{name} is {}", said.join(", ")),
            });
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}

fn contained(context: &Context, line: &PromotionLine, commit: &Commit) -> Result<(), String> {
    let proposal = &line.proposal;
    // The ref the change was landed on then, whatever the branch's changes land on today.
    let target = Target {
        branch: proposal.target.clone(),
        lands_on: proposal.lands_on.clone(),
        head: commit.clone(),
        expected: None,
    };
    let workspaces = &context.recorder.world().workspaces;
    match workspaces.contains(&target, commit) {
        Ok(true) => Ok(()),
        Ok(false) => merged(context, line, commit),
        Err(error) => Err(error.to_string()),
    }
}

/// The landing branch may be gone once the operator has merged it: then the branch counts.
fn merged(context: &Context, line: &PromotionLine, commit: &Commit) -> Result<(), String> {
    let proposal = &line.proposal;
    let branch = Target {
        branch: proposal.target.clone(),
        lands_on: format!("refs/heads/{}", proposal.target),
        head: commit.clone(),
        expected: None,
    };
    let workspaces = &context.recorder.world().workspaces;
    match workspaces.contains(&branch, commit) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("neither it nor {} does", branch.lands_on)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = "tree 1\nparent aaaa\nauthor x\n\nSubject\n\nPalisade-Work: other\n\n\
                       Palisade-Work: work_1\nPalisade-Tree: b3:00\n";

    #[test]
    fn only_the_last_paragraph_counts_as_trailers() {
        let wanted = |value: &str| [("Palisade-Work", value.to_string())];
        assert_eq!(names(RAW, &wanted("work_1")), Ok(()));
        assert_eq!(
            names(RAW, &wanted("other")),
            Err("Palisade-Work is work_1".to_string())
        );
        assert_eq!(
            names(RAW, &[("Palisade-Dossier", "b3:00".to_string())]),
            Err("Palisade-Dossier is missing".to_string())
        );
    }

    #[test]
    fn a_trailer_said_twice_is_no_trailer() {
        let raw = "tree 1\n\nSubject\n\nPalisade-Tree: b3:00\nPalisade-Tree: b3:01\n";
        assert!(names(raw, &[("Palisade-Tree", "b3:00".to_string())]).is_err());
    }

    #[test]
    fn a_commits_words_are_read_back() {
        let raw = "tree 1\nauthor Ada L <ada@x> 17 +0000\ncommitter y\n\nSubject\n\nBody\n";
        let read = text(raw).unwrap();
        assert_eq!(
            (read.name.as_str(), read.email.as_str()),
            ("Ada L", "ada@x")
        );
        assert_eq!(
            (read.seconds, read.message.as_str()),
            (17, "Subject\n\nBody\n")
        );
    }

    #[test]
    fn a_commit_with_another_parent_does_not_stand_on_the_base() {
        let base: Commit = "a".repeat(40).parse().unwrap();
        let raw = format!("tree 1\nparent {base}\nauthor x\n\nparent nothing\n");
        assert_eq!(stands_on(&raw, &base), Ok(()));
        let merge = raw.replace("author", "parent bbbb\nauthor");
        assert!(stands_on(&merge, &base).is_err());
        assert!(stands_on(RAW, &base).is_err());
    }
}
