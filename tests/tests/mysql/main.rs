//! Tests of features that only MySQL and MariaDB have. Open sessions keep roles, accounts have
//! several hosts, procedures and events can be replaced, and settings of the server reach into
//! every session. `mariadb-11.8/law_05_...`.

mod definers;
mod ends;
mod identity;
mod looks;
mod passwords;
mod scene;
mod sessions;
mod set_up;
mod settings;
mod strangers;

use std::time::Duration;

use anyhow::Result;
use jit_core::store::BoxError;
use jit_tests::server::Flavour;
use jit_tests::servers::{RunningMySql, Servers};
use jit_tests::trials::Trials;

use crate::scene::{Ender, Path};

/// Longest time of one test on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> Result<()> {
    let servers = Servers::of_this_run()?;
    let mut trials = Trials::new(PATIENCE)?;
    for flavour in Flavour::ALL {
        let mut all = Tests { flavour, servers: &servers, trials: &mut trials };
        for path in Path::ALL {
            let name = format!("law_05_open_session_loses_{}", path.name());
            all.add(&name, move |running| sessions::loses(running, path));
        }
        all.add("fact_open_sessions_keep_what_they_had", sessions::keeps);
        all.add("law_05_accounts_of_two_hosts_are_kept_apart", |running| sessions::two_hosts(running, Ender::Revoke));
        all.add("law_05_the_dead_man_keeps_accounts_of_two_hosts_apart", |running| {
            sessions::two_hosts(running, Ender::DeadMansSwitchPolicy)
        });
        all.add("law_05_an_account_that_came_later_takes_no_session", |running| {
            sessions::came_later(running, Ender::Revoke)
        });
        all.add("law_05_an_account_that_came_later_takes_no_session_from_the_dead_man", |running| {
            sessions::came_later(running, Ender::DeadMansSwitchPolicy)
        });
        all.add("law_05_the_dead_man_tells_hosts_apart_as_the_server_does", sessions::hosts);
        all.add("law_05_a_session_by_proxy_ends", sessions::proxied);
        all.add("law_04_a_lock_of_the_account_keeps_no_role", sessions::locked);
        all.add("law_15_a_cut_look_is_an_error", looks::cut);
        all.add("law_15_a_limit_of_the_server_hides_no_member", looks::many);
        all.add("law_15_a_renamed_account_is_no_proof", looks::renamed);
        all.add("law_06_what_everybody_holds_is_held", looks::everybody);
        all.add("an_account_that_may_be_meant_is_named", looks::alike);
        all.add("law_07_two_accesses_of_one_account_and_its_own_default_role", ends::whole_job);
        all.add("a_role_that_was_gone_already_is_told", ends::gone_before);
        all.add("what_runs_with_somebodys_rights_is_left_behind", ends::definitions);
        all.add("what_runs_with_a_roles_rights_is_left_behind_wherever_it_is", definers::everywhere);
        all.add("nobody_hides_what_is_left_behind_by_a_lock", definers::locked);
        all.add("what_is_left_behind_is_seen_as_far_as_an_earlier_set_up_allows", definers::earlier);
        all.add("law_04_what_outlives_a_role_is_a_power", ends::powers);
        all.add("what_was_prepared_is_left_behind", ends::prepared);
        all.add("what_was_passed_on_is_left_behind", ends::passed_on);
        all.add("law_05_an_event_that_runs_is_a_session", sessions::events);
        all.add("law_15_accounts_or_roles_that_swap_their_names_are_no_proof", looks::swapped);
        all.add("law_15_whatever_the_server_sets_for_everybody", settings::settings);
        all.add("law_17_a_procedure_that_was_replaced_is_not_called", strangers::procedures);
        all.add("law_17_the_dead_man_calls_no_procedure_that_was_replaced", strangers::fires);
        all.add("law_17_a_server_is_set_up_from_nothing_and_mended", set_up::from_nothing);
        all.add("law_17_setting_up_takes_over_nothing_of_a_strangers", set_up::planted);
        all.add("law_05_an_earlier_copy_in_its_place_is_no_restart_of_it", identity::copy_in_place);
        all.add("law_05_what_answers_at_a_moved_address_proves_no_revoke", identity::moved_address);
        all.add("law_04_what_is_live_goes_on_under_another_identifier", identity::another_identifier);
        all.add("law_12_a_password_is_given_in_the_clear_to_a_verified_server_only", passwords::in_the_clear);
        all.add("law_17_an_event_of_somebody_else_is_no_dead_man", strangers::events);
        all.add("law_17_what_somebody_else_may_drop_is_no_dead_man", strangers::rights);
    }
    trials.run(4)
}

/// Tests on one server.
struct Tests<'a> {
    flavour: Flavour,
    servers: &'a Servers,
    trials: &'a mut Trials,
}

impl Tests<'_> {
    fn add<F>(&mut self, name: &str, test: impl FnOnce(RunningMySql) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let server = self.flavour.name();
        match self.servers.mysql().find(|running| running.flavour == self.flavour).cloned() {
            Some(running) => self.trials.add(server, name, move || test(running)),
            None => self.trials.leave_out(server, name, self.servers.absent.get(server).cloned().unwrap_or_default()),
        }
    }
}

fn must(holds: bool, otherwise: impl Into<String>) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}
