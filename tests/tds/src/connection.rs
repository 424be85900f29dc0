//! One client's connection: handshake, login, then requests until it ends.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, mpsc},
};
use tokio_rustls::TlsAcceptor;

use super::{
    SqlError,
    instance::{Context, Instance, Kind, Session},
    run::{End, Machine},
    server::Shared,
    sql::fold,
    wire::{
        Encryption, Login7, Message, Prelogin, Tokens, Wrapped, parse_rpc, read_message, skip_headers, write_message,
    },
};

/// Encryption that the server offers, with its TLS acceptors.
pub(crate) enum Security {
    None,
    Offered(TlsAcceptor),
    Forced(TlsAcceptor),
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Offered(_) => "Offered",
            Self::Forced(_) => "Forced",
        })
    }
}

/// Serves one client. An error is one of its own socket and concerns nobody else.
pub(crate) async fn serve(shared: Arc<Shared>, security: Arc<Security>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let _ = handshake(shared, security, stream, peer).await;
}

async fn handshake(
    shared: Arc<Shared>,
    security: Arc<Security>,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    let mut first = [0_u8];
    stream.peek(&mut first).await?;
    let mut wrapped = Wrapped::new(stream);
    // TDS 8.0: TLS before anything else
    if first[0] == 0x16 {
        let (Security::Offered(acceptor) | Security::Forced(acceptor)) = &*security else { return Ok(()) };
        wrapped.handshake = false;
        let mut tls = acceptor.accept(wrapped).await?;
        prelogin(&shared, &mut tls, |_| Encryption::On).await?;
        return converse(shared, tls, peer, true).await;
    }
    let mut plain = wrapped.inner;
    let answer = |asked| match (&*security, asked) {
        (Security::None, _) => Encryption::NotSupported,
        (Security::Offered(_), Encryption::NotSupported) => Encryption::NotSupported,
        (Security::Forced(_), Encryption::NotSupported | Encryption::Off) => Encryption::Required,
        _ => Encryption::On,
    };
    let (asked, answered) = prelogin(&shared, &mut plain, answer).await?;
    match (&*security, answered) {
        (_, Encryption::NotSupported) => converse(shared, plain, peer, false).await,
        (Security::Forced(_), _) if asked == Encryption::NotSupported => Ok(()),
        (Security::Offered(acceptor) | Security::Forced(acceptor), _) => {
            let mut tls = acceptor.accept(Wrapped::new(plain)).await?;
            tls.get_mut().0.handshake = false;
            converse(shared, tls, peer, true).await
        }
        (Security::None, _) => Ok(()),
    }
}

async fn prelogin<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    stream: &mut S,
    answer: impl Fn(Encryption) -> Encryption,
) -> io::Result<(Encryption, Encryption)> {
    let message = read_message(stream).await?;
    let Some(prelogin) = Prelogin::parse(&message.body).filter(|_| message.kind == Message::PRELOGIN) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let answered = answer(prelogin.encryption);
    let version = shared.instance().version.clone();
    write_message(stream, Message::RESPONSE, 0, &Prelogin::answer(&version, answered)).await?;
    Ok((prelogin.encryption, answered))
}

async fn converse<S>(shared: Arc<Shared>, mut stream: S, peer: SocketAddr, encrypted: bool) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let message = read_message(&mut stream).await?;
    let Some(login) = Login7::parse(&message.body).filter(|_| message.kind == Message::LOGIN) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let wake = Arc::new(Notify::new());
    let admitted = admit(&mut shared.instance(), &login, peer, encrypted, &wake);
    let (spid, home, reply) = match admitted {
        Ok(admitted) => admitted,
        Err(errors) => {
            let mut tokens = Tokens::default();
            let name = shared.instance().name.clone();
            errors.iter().for_each(|e| tokens.message(e, &name));
            tokens.done_error(false);
            tokens.finish(false);
            (0, 0, tokens)
        }
    };
    write_message(&mut stream, Message::RESPONSE, spid, &reply.bytes).await?;
    if spid == 0 {
        return Ok(());
    }
    let result = requests(&shared, stream, spid, home, &wake).await;
    shared.instance().end_session(spid);
    shared.changed.notify_all();
    result
}

/// Lets the client in, or says why it may not come in.
fn admit(
    w: &mut Instance,
    login: &Login7,
    peer: SocketAddr,
    encrypted: bool,
    wake: &Arc<Notify>,
) -> Result<(i32, i32, Tokens), Vec<SqlError>> {
    let refused = || SqlError::new(18456, format!("Login failed for user '{}'.", login.user));
    let closed = |name: &str| {
        SqlError::new(4060, format!("Cannot open database \"{name}\" requested by the login. The login failed."))
    };
    if login.other_authentication || w.stopping {
        return Err(vec![refused()]);
    }
    let mut context = None;
    let mut database = None;
    // where the database is contained, its own users are looked up first
    if let Some(db) = w.database_named(&login.database).filter(|d| d.contained) {
        let user = db.principals.values().find(|p| p.password.is_some() && fold(&p.name) == fold(&login.user));
        if let Some(user) = user {
            if user.password.as_deref() != Some(&login.password) {
                return Err(vec![refused()]);
            }
            let sid = user.sid.clone().unwrap_or_default();
            context = Some(Context { login: None, login_name: user.name.clone(), sid, user: Some((db.id, user.id)) });
            database = Some(db.id);
        }
    }
    if context.is_none() {
        let known = w
            .login_named(&login.user)
            .filter(|l| l.kind == Kind::Sql && l.password.as_deref() == Some(&login.password));
        let known = known.ok_or_else(|| vec![refused()])?;
        if known.disabled {
            return Err(vec![SqlError::new(
                18470,
                format!("Login failed for user '{}'. Reason: The account is disabled.", login.user),
            )]);
        }
        if !w.login_may(known.id, "CONNECT SQL") {
            return Err(vec![refused()]);
        }
        context =
            Some(Context { login: Some(known.id), login_name: known.name.clone(), sid: known.sid.clone(), user: None });
        let wanted = if login.database.is_empty() { known.database.clone() } else { login.database.clone() };
        let open = context.as_ref().and_then(|c| w.database_named(&wanted).filter(|d| w.user_of(c, d.id).is_some()));
        database = open.map(|d| d.id);
        if database.is_none() {
            return Err(vec![closed(&wanted), refused()]);
        }
    }
    let (Some(context), Some(database)) = (context, database) else { return Err(vec![refused()]) };
    let spid = w.free_spid();
    let mut session = Session::new(spid);
    session.original_login = context.login_name.clone();
    session.original_sid = context.sid.clone();
    session.contexts.push(context);
    session.database = database;
    session.host = login.host.clone();
    session.program = login.program.clone();
    session.interface = login.interface.clone();
    session.address = peer.ip().to_string();
    session.encrypted = encrypted;
    (session.login_time, session.last_start) = (w.now(), w.now());
    session.wake = Some(Arc::clone(wake));
    w.sessions.insert(spid, session);
    let mut tokens = Tokens::default();
    let name = w.databases.get(&database).map(|d| d.name.clone()).unwrap_or_default();
    tokens.env_text(1, &name, "master");
    tokens.message(&told(5701, format!("Changed database context to '{name}'.")), &w.name);
    tokens.env_collation();
    tokens.env_text(2, "us_english", "");
    tokens.message(&told(5703, "Changed language setting to us_english."), &w.name);
    // answer with TDS 7.4, or with the client's version if that is lower
    tokens.login_ack(
        &w.version,
        if login.version >= 0x7400_0004 || login.version < 0x7100_0000 { 0x7400_0004 } else { swap(login.version) },
    );
    tokens.env_text(4, "4096", "4096");
    if let Some(port) = w.route {
        tokens.env_routing("127.0.0.1", port);
    }
    tokens.finish(false);
    Ok((spid, database, tokens))
}

/// Turns the version that a client asked for into the form that servers acknowledge. Only versions
/// below 7.4 need it.
fn swap(version: u32) -> u32 {
    match version {
        0x7300_000b..=0x7300_ffff => 0x730b_0003,
        0x7209_0002 => 0x7209_0002,
        other => other,
    }
}

pub(crate) fn told(number: i32, message: impl Into<String>) -> SqlError {
    SqlError { severity: 0, state: 2, ..SqlError::new(number, message) }
}

async fn requests<S>(shared: &Arc<Shared>, stream: S, spid: i32, home: i32, wake: &Notify) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut reading, mut writing) = tokio::io::split(stream);
    let (send, mut receive) = mpsc::channel(4);
    let aside = Arc::clone(shared);
    // the reader also reads while a request runs: the client may cancel it or leave
    let reader = tokio::spawn(async move {
        loop {
            let message = read_message(&mut reading).await;
            if let Some(session) = aside.instance().session_mut(spid) {
                match &message {
                    Ok(m) if m.kind == Message::ATTENTION => session.attention = true,
                    Ok(_) => {}
                    Err(_) => session.killed = true,
                }
            }
            aside.changed.notify_all();
            let Ok(message) = message else { return };
            if send.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut machine = Machine::new(Arc::clone(shared), spid);
    loop {
        let message = tokio::select! {
            message = receive.recv() => message,
            () = wake.notified() => None,
        };
        let Some(message) = message else { break };
        if message.kind == Message::ATTENTION {
            if let Some(session) = shared.instance().session_mut(spid) {
                session.attention = false;
            }
            let mut tokens = Tokens::default();
            tokens.finish(true);
            write_message(&mut writing, Message::RESPONSE, spid, &tokens.bytes).await?;
            continue;
        }
        if message.ignore {
            let mut tokens = Tokens::default();
            tokens.done_error(false);
            tokens.finish(false);
            write_message(&mut writing, Message::RESPONSE, spid, &tokens.bytes).await?;
            continue;
        }
        let run = tokio::task::spawn_blocking(move || {
            let end = request(&mut machine, &message, home);
            (machine, end)
        });
        let Ok((back, end)) = run.await else { break };
        machine = back;
        let bytes = machine.take_response();
        write_message(&mut writing, Message::RESPONSE, spid, &bytes).await?;
        if end == End::Close {
            break;
        }
    }
    reader.abort();
    Ok(())
}

fn request(machine: &mut Machine, message: &Message, home: i32) -> End {
    if message.reset {
        machine.reset(home);
    }
    match message.kind {
        Message::BATCH => match skip_headers(&message.body) {
            Some(text) => machine.batch(&super::wire::utf16(text)),
            None => End::Close,
        },
        Message::RPC => match parse_rpc(&message.body) {
            Some(calls) => machine.calls(calls),
            None => machine.refuse(&SqlError::new(
                8009,
                "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is incorrect.",
            )),
        },
        Message::TRANSACTION => machine.transaction(skip_headers(&message.body).unwrap_or_default()),
        _ => End::Close,
    }
}
