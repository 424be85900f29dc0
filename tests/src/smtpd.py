"""A mail server for tests: prints its port, then every mail as one line of JSON; ends with its standard input.

smtpd.py CERTIFICATE KEY USER PASSWORD: it demands STARTTLS, and then that login.
smtpd.py: it offers neither.
"""
import asyncio
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

# clients that turn away are what the tests are about, and no errors of it
logging.getLogger("mail.log").setLevel(logging.CRITICAL)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "login": session.auth_data,
            "text": envelope.content.decode("utf-8", "replace"),
        }
        print(json.dumps(mail), flush=True)
        return "250 taken"


def protected(certificate, key, user, password):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def authenticate(server, session, envelope, mechanism, data):
        login = data.login.decode()
        right = (login, data.password.decode()) == (user, password)
        # what is not handled is answered by the server: 535
        return AuthResult(success=right, handled=False, auth_data=login)

    return {
        "tls_context": context,
        "require_starttls": True,
        "auth_required": True,
        "authenticator": authenticate,
    }


async def main():
    options = protected(*sys.argv[1:]) if len(sys.argv) > 1 else {}
    loop = asyncio.get_running_loop()

    def session():
        return SMTP(Handler(), hostname="127.0.0.1", loop=loop, **options)

    server = await loop.create_server(session, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
