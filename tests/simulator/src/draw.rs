//! Drawing of histories from their seeds.

use super::Options;
use super::random::Random;
use super::steps::{ACCOUNTS, History, Lead, PEOPLE, SERVERS, Step, TARGETS};
use super::systems::{Calls, Proves};

#[derive(Debug, Clone, Copy)]
enum Sort {
    Request,
    RequestElsewhere,
    Intrude,
    Decide,
    Confirm,
    Delegate,
    Review,
    Callback,
    End,
    Extend,
    Stop,
    Resume,
    Policy,
    Reconcile,
    Pass,
    LongPass,
    Jump,
    Weather,
    Node,
    Ambush,
    Server,
    Hand,
    Session,
    Hold,
    LetGo,
    Clock,
    LoseClaims,
    FailOver,
    Lead,
    ConfirmTarget,
    Rename,
    RenameBack,
}

const CALM: [(u64, Sort); 16] = [
    (22, Sort::Request),
    (3, Sort::RequestElsewhere),
    (1, Sort::Intrude),
    (22, Sort::Decide),
    (5, Sort::Confirm),
    (4, Sort::Delegate),
    (3, Sort::Review),
    (5, Sort::Callback),
    (8, Sort::End),
    (6, Sort::Extend),
    (1, Sort::Stop),
    (3, Sort::Resume),
    (2, Sort::Policy),
    (24, Sort::Pass),
    (5, Sort::LongPass),
    (3, Sort::Session),
];

const ROUGH: [(u64, Sort); 11] = [
    (1, Sort::Reconcile),
    (1, Sort::Jump),
    (4, Sort::Weather),
    (6, Sort::Node),
    (6, Sort::Ambush),
    (4, Sort::Server),
    (7, Sort::Hand),
    (1, Sort::Hold),
    (2, Sort::LetGo),
    (2, Sort::Clock),
    (1, Sort::LoseClaims),
];

impl History {
    /// Draws the history of the seed, with this many steps.
    pub(super) fn of(seed: u64, options: &Options) -> Self {
        let mut random = Random::of(seed, 0x5EED);
        let quiet = random.chance(125);
        // if few people ask for few roles, their accesses overlap; or one person owes many reviews
        let few = random.chance(500).then(|| if random.chance(300) { 2 } else { 0 });
        let nodes = if random.chance(250) { 3 } else { 2 };
        let mut history = Self {
            seed,
            nodes,
            version: random.one(&[16, 17, 18]).unwrap_or(17),
            same_name: random.chance(500),
            quiet,
            replicated: !quiet && random.chance(250),
            moving: false,
            renaming: false,
            steps: Vec::new(),
        };
        // drawn separately, so that all other draws stay as they were
        let mut apart = Random::of(seed, 0xA9A7);
        history.moving = options.moves && !quiet && apart.chance(400);
        history.renaming = options.moves && !quiet && apart.chance(300);
        let mut sorts: Vec<(u64, Sort)> = CALM.to_vec();
        if !quiet {
            sorts.extend(ROUGH);
        }
        if history.replicated {
            sorts.push((2, Sort::FailOver));
        }
        if history.moving {
            sorts.extend([(4, Sort::Lead), (2, Sort::ConfirmTarget)]);
        }
        if history.renaming {
            sorts.extend([(2, Sort::Rename), (2, Sort::RenameBack)]);
        }
        let mut drawn = Draw { random, nodes: nodes as u64, few };
        for number in 0..options.steps as u64 {
            let Some(sort) = drawn.random.weighted(&sorts) else { continue };
            history.steps.push((number, drawn.step(sort)));
        }
        history
    }
}

struct Draw {
    random: Random,
    nodes: u64,
    /// First of the two roles that are asked for, if few people ask.
    few: Option<usize>,
}

impl Draw {
    fn place(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.below(limit as u64)).unwrap_or_default()
    }

    fn node(&mut self) -> usize {
        usize::try_from(self.random.below(self.nodes)).unwrap_or_default()
    }

    fn step(&mut self, sort: Sort) -> Step {
        let node = self.node();
        let pick = self.random.next();
        match sort {
            Sort::Request => self.request(node),
            Sort::RequestElsewhere => {
                let role = if self.random.chance(200) { 0 } else { 4 };
                let secs = self.random.between(5, 60);
                Step::RequestElsewhere { node, who: self.place(ACCOUNTS), role, secs }
            }
            Sort::Intrude => Step::Intrude { node, pick },
            Sort::Decide => {
                let who = self.approver();
                Step::Decide { node, who, pick, yes: self.random.chance(930), proves: self.proves() }
            }
            Sort::Confirm => Step::Confirm { node, pick, proves: self.proves() },
            Sort::Delegate => {
                // people who may decide only later, or anybody
                let to = self.random.one(&[6, 7]).unwrap_or(6);
                let to = if self.random.chance(700) { to } else { self.place(PEOPLE.len()) };
                let who = self.random.one(&[3, 4, 5]).unwrap_or(4);
                Step::Delegate { node, who, to, secs: self.random.chance(700).then(|| self.random.between(5, 300)) }
            }
            Sort::Review => Step::Review { node, who: self.approver(), pick },
            Sort::Callback => {
                let yes = self.random.chance(900);
                let calls = [(7, Calls::Board { yes }), (2, Calls::Again), (1, Calls::Forged), (1, Calls::Misplaced)];
                Step::Callback { node, pick, calls: self.random.weighted(&calls).unwrap_or(Calls::Again) }
            }
            Sort::End => match self.random.below(4) {
                0 | 1 => Step::Release { node, pick },
                2 => {
                    Step::Revoke { node, who: if self.random.chance(800) { 6 } else { self.place(PEOPLE.len()) }, pick }
                }
                _ => Step::Cancel { node, pick },
            },
            Sort::Extend => Step::Extend { node, pick, secs: self.random.between(5, 200) },
            Sort::Stop => {
                let who = if self.random.chance(900) { 6 } else { self.place(PEOPLE.len()) };
                Step::Stop { node, who, scope: self.random.below(4) }
            }
            Sort::Resume => Step::Resume { node },
            Sort::Policy => Step::Policy { node, which: self.place(2) },
            Sort::Reconcile => {
                let enforce = self.random.chance(500);
                Step::Reconcile { node, target: self.random.one(&[0, 3]).unwrap_or(0), enforce }
            }
            Sort::Pass => {
                let most = self.random.one(&[3, 50, 500, 3_000, 8_000]).unwrap_or(50);
                Step::Pass { millis: self.random.between(1, most) }
            }
            Sort::LongPass => Step::Pass { millis: self.random.between(8_000, 40_000) },
            Sort::Jump => Step::Jump { secs: self.random.one(&[20, 70, 3_700]).unwrap_or(20) },
            Sort::Weather => {
                if self.random.chance(350) {
                    Step::Weather { store: 0, database: 0 }
                } else {
                    let store = self.random.one(&[0, 0, 5, 30, 100]).unwrap_or(0);
                    let database = self.random.one(&[0, 50, 200, 400]).unwrap_or(0);
                    Step::Weather { store, database }
                }
            }
            Sort::Node => match self.random.below(8) {
                0 | 1 => Step::Kill { node },
                2 => Step::Pause { node, millis: self.random.between(100, 40_000) },
                _ => Step::Start { node },
            },
            Sort::Ambush => Step::Ambush {
                node,
                calls: self.random.below(12),
                in_store: self.random.chance(600),
                after: self.random.chance(500),
                pause: self.random.chance(400).then(|| self.random.between(1_000, 40_000)),
            },
            Sort::Server => {
                let server = self.place(SERVERS);
                match self.random.below(5) {
                    0 => Step::ServerStop { server },
                    1 => Step::ServerStart { server, read_only: true },
                    _ => Step::ServerStart { server, read_only: false },
                }
            }
            Sort::Hand => self.hand(pick),
            Sort::Session => Step::Session { server: self.place(SERVERS), account: self.account() },
            Sort::Hold => Step::Hold { server: self.place(SERVERS), account: self.account(), role: self.role() },
            Sort::LetGo => Step::LetGo,
            Sort::Clock => {
                let by = self.random.one(&[900, 1_500, 20_000, 7_200_000]).unwrap_or(900);
                let by = if self.random.chance(500) { by } else { 0_i64.saturating_sub(by) };
                if self.random.chance(500) {
                    Step::StoreClock { millis: by }
                } else {
                    Step::ServerClock { server: self.place(SERVERS), millis: by.clamp(-15_000, 15_000) }
                }
            }
            Sort::LoseClaims => Step::LoseClaims,
            Sort::Lead => {
                let strangers = [Lead::First, Lead::Stranger, Lead::Copy { fresh: true }, Lead::Copy { fresh: false }];
                let target = self.random.chance(650).then(|| self.place(TARGETS.len()));
                let to = self.random.one(&strangers).unwrap_or(Lead::First);
                // few calls change something, so one of the next changing calls is taken, with
                // enough time for it to come
                let amid = self.random.chance(400);
                let calls = if amid {
                    Some(self.random.below(2))
                } else {
                    self.random.chance(600).then(|| self.random.below(8))
                };
                let latest = if amid { 60_000 } else { 20_000 };
                Step::Lead {
                    target,
                    to,
                    calls,
                    amid,
                    back: self.random.chance(700).then(|| self.random.between(1, latest)),
                }
            }
            Sort::ConfirmTarget => Step::ConfirmTarget { node, pick, same: self.random.chance(600) },
            Sort::Rename => {
                let (server, account) = (self.place(SERVERS), self.account());
                Step::Rename { server, account, anew: self.random.chance(300) }
            }
            Sort::RenameBack => Step::RenameBack { server: self.place(SERVERS) },
            Sort::FailOver => Step::FailOver { behind: self.place(super::world::BEHIND) },
        }
    }

    fn account(&mut self) -> usize {
        self.place(if self.few.is_some() { 1 } else { ACCOUNTS })
    }

    fn role(&mut self) -> usize {
        match self.few {
            Some(first) => first.saturating_add(self.place(2)),
            None => self.place(4),
        }
    }

    fn approver(&mut self) -> usize {
        let approver = self.random.one(&[3, 3, 4, 4, 5, 6, 7]).unwrap_or(4);
        if self.random.chance(850) { approver } else { self.place(PEOPLE.len()) }
    }

    fn proves(&mut self) -> Proves {
        let all = [
            (3, Proves::Nothing),
            (6, Proves::Code),
            (2, Proves::UsedCode),
            (6, Proves::Token),
            (1, Proves::OldToken),
            (1, Proves::TokenOfAnother),
        ];
        self.random.weighted(&all).unwrap_or(Proves::Nothing)
    }

    fn request(&mut self, node: usize) -> Step {
        let who = self.account();
        let longest = if self.few.is_some() { 150 } else { 60 };
        let role = self.role();
        // some begin so late that the approvals are old by then
        let latest = self.random.one(&[60, 200]).unwrap_or(60);
        Step::Request {
            node,
            who,
            role,
            target: self.place(TARGETS.len()),
            secs: self.random.between(3, longest),
            grantee: self.random.chance(150).then(|| self.place(ACCOUNTS)),
            start_in: if self.random.chance(250) { self.random.between(1, latest) } else { 0 },
            keyed: self.random.chance(150),
            emergency: role == 2 && self.random.chance(500),
            proves: self.proves(),
        }
    }

    fn hand(&mut self, pick: u64) -> Step {
        let (server, account, role) = (self.place(SERVERS), self.account(), self.role());
        match self.random.below(8) {
            0 | 1 => Step::Standing { server, account, role, give: true },
            2 | 3 => Step::Standing { server, account, role, give: false },
            4 => Step::Orphan { server, account, role },
            5 => Step::Vanish { server, account, role },
            _ => Step::Reappear { server, pick },
        }
    }
}
