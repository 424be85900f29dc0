//! `break_glass` of a rule: a role in an emergency, reviewed afterwards.

use chrono::TimeDelta;

use super::error::Findings;
use super::read::Section;
use super::stage::{read_factor, read_within};
use super::terms::LONGEST_WAIT;
use super::who::WhoList;
use crate::directory::ListedDirectory;
use crate::model::approval::{BreakGlass, Mfa, MfaOf, Plan, Requirement, Stage};
use crate::policy::{CEILING, Question};

/// Terms of an emergency: who may take the role, and what is owed for it.
#[derive(Debug, Clone)]
pub(super) struct Emergency {
    by: WhoList,
    review_by: WhoList,
    max: TimeDelta,
    within: TimeDelta,
    mfa: Option<Mfa>,
}

impl Emergency {
    pub(super) fn read(rule: &Section<'_>, directory: &ListedDirectory, findings: &mut Findings) -> Option<Self> {
        let section = Section::of(rule.find("break_glass")?, "break_glass", findings)?;
        section.only(&["by", "max", "review_by", "within", "mfa"], findings);
        let mut people = |key: &'static str, example| {
            let entries = section.demand_texts(key, example, findings)?;
            for (at, entry) in &entries {
                if *entry == "*" {
                    findings.problem(*at, format!("`{key}` has to name people or groups: `*` is everybody"));
                }
            }
            Some(WhoList::read(&entries, directory, findings))
        };
        let by = people("by", "[\"group:dba\"]");
        let review_by = people("review_by", "[\"group:security\"]");
        section.demand("max", "\"15m\"", findings);
        let max = section.duration("max", CEILING, findings);
        section.demand("within", "\"24h\"", findings);
        let within = section.duration("within", LONGEST_WAIT, findings);
        let mfa = match section.find("mfa") {
            None => Some(None),
            Some(found) => Section::of(found, "mfa", findings).and_then(|mfa| {
                mfa.only(&["within", "factor"], findings);
                let (within, factor) = (read_within(&mfa, findings), read_factor(&mfa, findings));
                Some(Some(Mfa { of: MfaOf::Requester, within: within?, factor: factor? }))
            }),
        };
        Some(Self { by: by?, review_by: review_by?, max: max?.1, within: within?.1, mfa: mfa? })
    }

    /// Checks whether the requester may take the role in an emergency. Nobody takes it for somebody
    /// else.
    pub(super) fn allows(&self, question: &Question<'_>) -> bool {
        self.by.has(question.requester) && question.grantee.principal == question.requester.principal
    }

    pub(super) fn max(&self) -> TimeDelta {
        self.max
    }

    pub(super) fn people(&self) -> impl Iterator<Item = &WhoList> {
        [&self.by, &self.review_by].into_iter()
    }

    pub(super) fn mfa(&self) -> Option<&Mfa> {
        self.mfa.as_ref()
    }

    /// Returns the plan of an emergency.
    ///
    /// It has the requester's second factor, if one is demanded. It has a second person while
    /// another emergency of the requester is not reviewed. So a series of emergencies never depends
    /// on one person alone.
    pub(super) fn plan(&self, rule: &Plan, question: &Question<'_>) -> Plan {
        let mfa = self.mfa.clone().map(|mfa| Stage { mfa: Some(mfa), ..Stage::default() });
        let second = question.owes_review.then(|| {
            let anybody = self.people().flat_map(WhoList::requirements).collect();
            Stage { people: vec![Requirement::Any(anybody)], ..Stage::default() }
        });
        let review_by = Requirement::Any(self.review_by.requirements());
        let human = question.requester.human.clone();
        let mut plan = rule.clone();
        plan.stages = mfa.into_iter().chain(second).collect();
        plan.limits.max = self.max;
        plan.limits.max_total = self.max;
        plan.break_glass = Some(BreakGlass { human, review_by, within: self.within });
        plan
    }
}
