//! Plans of migrations, judged without an executor and a database: which statements would be sent.

pub use crate::actions::run_db_migration_plan::Dialect;
use crate::actions::run_db_migration_plan::{Judged, Plan};

/// Returns the digest of a plan.
///
/// # Errors
/// When it is no plan, with the reason.
pub fn digest(plan: &[u8]) -> Result<domain::Digest, String> {
    let plan = Plan::read(plan).map_err(|it| it.to_string())?;
    Ok(plan.digest)
}

/// Returns the statements of a plan, each as it would be sent.
///
/// # Errors
/// When it is no plan, or some of them may not run: every reason.
pub fn statements(plan: &[u8], dialect: Dialect) -> Result<Vec<String>, Vec<String>> {
    let plan = Plan::read(plan).map_err(|it| vec![it.to_string()])?;
    match Judged::of(plan, dialect) {
        Ok(judged) => Ok(judged.into_statements()),
        Err(refused) => Err(refused.iter().map(ToString::to_string).collect()),
    }
}
