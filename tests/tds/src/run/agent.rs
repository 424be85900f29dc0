//! SQL Server Agent: the procedures of `msdb` that make jobs, and running a job.

use std::sync::Arc;

use super::Machine;
use super::procedure::{Given, Returned, missing, pick};
use crate::{
    SqlError, Stop, error,
    instance::{Context, Instance, Job, Schedule, Session, Step},
    server::{STACK, Shared},
    sql::fold,
};

/// Job procedures that exist here, with the parameters of each that have an effect.
const OF_JOBS: [(&str, &[&str]); 6] = [
    ("sp_add_job", &["@job_name", "@enabled", "@description", "@owner_login_name"]),
    ("sp_add_jobstep", &["@job_name", "@step_name", "@subsystem", "@command", "@database_name"]),
    (
        "sp_add_jobschedule",
        &[
            "@job_name",
            "@name",
            "@enabled",
            "@freq_type",
            "@freq_interval",
            "@freq_subday_type",
            "@freq_subday_interval",
        ],
    ),
    ("sp_add_jobserver", &["@job_name", "@server_name"]),
    ("sp_update_job", &["@job_name", "@enabled", "@owner_login_name"]),
    ("sp_delete_job", &["@job_name"]),
];

/// Login of SQL Server Agent.
const SERVICE: &str = "NT SERVICE\\SQLSERVERAGENT";

impl Machine {
    /// Checks whether this is the name of a job procedure of `msdb`.
    pub(super) fn is_of_jobs(&self, name: &[String]) -> bool {
        let there = match name {
            [database, _, _] => fold(database) == "msdb",
            _ => {
                let w = self.shared.instance();
                w.databases.get(&w.session(self.spid).database).is_some_and(|db| fold(&db.name) == "msdb")
            }
        };
        there && name.last().is_some_and(|short| OF_JOBS.iter().any(|(known, _)| fold(short) == *known))
    }

    pub(super) fn job_procedure(&mut self, procedure: &str, given: &[Given]) -> Result<Returned, Stop> {
        let known = OF_JOBS.iter().find(|(name, _)| *name == procedure).map_or(&[][..], |(_, known)| known);
        if let Some(other) = given.iter().find(|g| !known.contains(&g.name.as_str())) {
            return error(8145, format!("{} is not a parameter for procedure {procedure}.", other.name));
        }
        self.patient(|m, w| {
            if !w.may_server(m.spid, "CONTROL SERVER") {
                return error(
                    229,
                    format!(
                        "The EXECUTE permission was denied on the object '{procedure}', database 'msdb', schema 'dbo'."
                    ),
                );
            }
            define_job(w, procedure, given)
        })?;
        Ok(Returned::default())
    }
}

fn text(given: &[Given], name: &str) -> Option<String> {
    pick(given, usize::MAX, &[name]).and_then(|g| g.value.as_text())
}

fn number(given: &[Given], name: &str) -> Option<i64> {
    pick(given, usize::MAX, &[name]).and_then(|g| g.value.as_int())
}

/// Returns the login that will own a job.
fn owner(w: &Instance, given: &[Given]) -> Result<Option<i32>, Stop> {
    let Some(name) = text(given, "@owner_login_name") else { return Ok(None) };
    match w.login_named(&name) {
        Some(login) => Ok(Some(login.id)),
        None => error(
            14234,
            "The specified '@owner_login_name' is invalid (valid values are returned by sp_helplogins [excluding Windows NT groups]).",
        ),
    }
}

fn define_job(w: &mut Instance, procedure: &str, given: &[Given]) -> Result<(), Stop> {
    let Some(name) = text(given, "@job_name") else { return Err(missing(procedure, "@job_name")) };
    let (owner, now, key) = (owner(w, given)?, w.now(), fold(&name));
    let enabled = number(given, "@enabled").map(|n| n != 0);
    if procedure == "sp_add_job" {
        if w.jobs.contains_key(&key) {
            return error(14261, format!("The specified @name ('{name}') already exists."));
        }
        let job = Job {
            name,
            owner: owner.unwrap_or(1),
            enabled: enabled.unwrap_or(true),
            steps: Vec::new(),
            schedules: Vec::new(),
            targeted: false,
            running: false,
            seen: now,
            failure: None,
        };
        w.jobs.insert(key, job);
        return Ok(());
    }
    if procedure == "sp_add_jobstep" {
        let database = text(given, "@database_name").unwrap_or_else(|| "master".to_owned());
        if w.database_named(&database).is_none() {
            return error(14262, format!("The specified @database_name ('{database}') does not exist."));
        }
    }
    let Some(job) = w.jobs.get_mut(&key) else {
        return error(14262, format!("The specified @job_name ('{name}') does not exist."));
    };
    match procedure {
        "sp_add_jobstep" => {
            let subsystem = text(given, "@subsystem").unwrap_or_else(|| "TSQL".to_owned());
            if fold(&subsystem) != "tsql" {
                return error(
                    14266,
                    format!("The specified '@subsystem' is invalid (valid values are: TSQL). {subsystem}"),
                );
            }
            let Some(step) = text(given, "@step_name") else { return Err(missing(procedure, "@step_name")) };
            let database = text(given, "@database_name").unwrap_or_else(|| "master".to_owned());
            let command = text(given, "@command").unwrap_or_default();
            job.steps.push(Step { name: step, database, command });
        }
        "sp_add_jobschedule" => {
            if text(given, "@name").is_none() {
                return Err(missing(procedure, "@name"));
            }
            job.schedules.push(Schedule { enabled: enabled.unwrap_or(true), every: every(given)? });
        }
        "sp_add_jobserver" => job.targeted = true,
        "sp_update_job" => {
            job.enabled = enabled.unwrap_or(job.enabled);
            job.owner = owner.unwrap_or(job.owner);
        }
        _ => drop(w.jobs.remove(&key)),
    }
    Ok(())
}

/// Reads a schedule: daily, in steps of seconds, minutes or hours.
fn every(given: &[Given]) -> Result<u32, Stop> {
    if number(given, "@freq_type") != Some(4) || number(given, "@freq_interval") != Some(1) {
        return error(14266, "The specified '@freq_type' is invalid (valid values are: 4, each day).");
    }
    let interval = number(given, "@freq_subday_interval").unwrap_or(0);
    let (seconds, least) = match number(given, "@freq_subday_type") {
        Some(2) => (1, 10),
        Some(4) => (60, 1),
        Some(8) => (3_600, 1),
        _ => return error(14266, "The specified '@freq_subday_type' is invalid (valid values are: 0x2, 0x4, 0x8)."),
    };
    match u32::try_from(interval) {
        Ok(n) if n >= least => Ok(n * seconds),
        _ => error(
            14266,
            format!("The specified '@freq_subday_interval' is invalid (valid values are: {least} and more)."),
        ),
    }
}

/// Starts the jobs that are due, until the server stops.
pub(crate) fn serve_jobs(shared: &Arc<Shared>) {
    let mut instance = shared.instance();
    while !instance.stopping {
        for job in instance.due_jobs() {
            let shared = Arc::clone(shared);
            let run = move || {
                let failure = run_job(&shared, &job).err().map(|why| format!("{why} The step failed."));
                let mut instance = shared.instance();
                if let Some(job) = instance.jobs.get_mut(&fold(&job.name)) {
                    (job.running, job.failure) = (false, failure);
                }
            };
            // without a thread the job stays marked as running and never starts again; its history
            // would show that too
            let _ = std::thread::Builder::new().name("tds job".to_owned()).stack_size(STACK).spawn(run);
        }
        let pause = std::time::Duration::from_millis(200);
        (instance, _) = shared.changed.wait_timeout(instance, pause).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

/// Runs the steps of a job one after the other, as the job's owner.
fn run_job(shared: &Arc<Shared>, job: &Job) -> Result<(), String> {
    for (n, step) in job.steps.iter().enumerate() {
        let mut instance = shared.instance();
        let Some(owner) = instance.logins.get(&job.owner).cloned() else {
            return Err(format!("The owner of job {} does not exist.", job.name));
        };
        let Some(database) = instance.database_named(&step.database).map(|d| d.id) else {
            return Err(format!("The database of step {} does not exist.", step.name));
        };
        let service = Context { login: Some(1), login_name: SERVICE.to_owned(), sid: vec![1], user: None };
        let mut session = Session::new(instance.free_spid());
        (session.original_login, session.original_sid) = (SERVICE.to_owned(), service.sid.clone());
        session.contexts.push(service);
        if !instance.sysadmin(owner.id) {
            let context = Context { login: Some(owner.id), login_name: owner.name.clone(), sid: owner.sid, user: None };
            if instance.user_of(&context, database).is_none() {
                return Err(format!(
                    "The server principal \"{}\" is not able to access the database \"{}\" under the current security context. (Error 916).",
                    owner.name, step.database
                ));
            }
            session.contexts.push(context);
        }
        session.database = database;
        session.program = format!("SQLAgent - TSQL JobStep (Job {} : Step {})", job.name, n + 1);
        (session.login_time, session.last_start) = (instance.now(), instance.now());
        let spid = session.spid;
        instance.sessions.insert(spid, session);
        drop(instance);
        let mut machine = Machine::captured(Arc::clone(shared), spid);
        machine.batch(&step.command);
        let (_, failed) = machine.captured_results();
        shared.instance().end_session(spid);
        shared.changed.notify_all();
        if let Some(SqlError { number, message, .. }) = failed {
            return Err(format!("Executed as user: {}. {message} (Error {number}).", owner.name));
        }
    }
    Ok(())
}
