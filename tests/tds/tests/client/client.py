"""An independent client of the TDS double: python3 client.py CASE PORT AUTHORITY OTHER_AUTHORITY PASSWORD."""

import datetime
import sys

import pytds

CASE, PORT, AUTHORITY, OTHER_AUTHORITY, PASSWORD = sys.argv[1:]


def connect(authority=AUTHORITY, user="sa", password=PASSWORD, **more):
    # its check of the host needs an interface that newer versions of pyOpenSSL have not
    return pytds.connect(dsn="127.0.0.1", port=int(PORT), database="app", user=user, password=password, cafile=authority or None,
                         validate_host=False, disable_connect_retry=True, **more)


def one(connection, sql, values=()):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()


def number_of(connection, sql):
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
    except pytds.Error as error:
        return error.number
    return 0


MEMBERS = "SELECT COUNT(*) FROM sys.database_role_members m JOIN sys.database_principals r ON r.principal_id = m.role_principal_id WHERE r.name = %s"


def logs_in_over_tls():
    with connect() as connection:
        sql = "SELECT encrypt_option FROM sys.dm_exec_connections WHERE session_id = @@SPID"
        assert one(connection, sql) == ("TRUE",)


def refuses_another_authority():
    try:
        connect(OTHER_AUTHORITY)
    except Exception as error:
        assert "certificate" in str(error).lower() or "certificate" in repr(error.__cause__).lower(), repr(error)
    else:
        raise AssertionError("connected")


def is_refused_for_a_wrong_password():
    try:
        connect(password="wrong")
    except pytds.Error as error:
        assert "Login failed" in str(error), repr(error)
    else:
        raise AssertionError("connected")


def logs_in_in_the_clear_where_that_is_offered():
    with connect(None) as connection:
        sql = "SELECT encrypt_option FROM sys.dm_exec_connections WHERE session_id = @@SPID"
        assert one(connection, sql) == ("FALSE",)


def sends_values_of_many_types():
    with connect() as connection:
        moment = datetime.datetime(2026, 11, 25, 1, 2, 3, 456000)
        values = ("é漢", -5, None, pytds.Binary(b"\x01\xff"), moment, True, 2 ** 40, 1.5, "x" * 5000)
        assert one(connection, "SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s", values) == values


def reads_several_results():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS a; SELECT N'x' AS b UNION ALL SELECT N'y'; PRINT N'done'; SELECT CONVERT(bigint, NULL)")
        assert cursor.fetchall() == [(1,)] and cursor.nextset()
        assert cursor.description[0][0] == "b" and cursor.fetchall() == [("x",), ("y",)] and cursor.nextset()
        assert cursor.fetchall() == [(None,)] and not cursor.nextset()


def begins_and_ends_transactions_by_request():
    with connect() as connection:
        with connection.cursor() as cursor:
            cursor.execute("CREATE ROLE by_request; ALTER ROLE by_request ADD MEMBER ann")
        assert one(connection, "SELECT @@TRANCOUNT") == (1,)
        connection.rollback()
        assert one(connection, "SELECT COUNT(*) FROM sys.database_principals WHERE name = N'by_request'") == (0,)
        with connection.cursor() as cursor:
            cursor.execute("CREATE ROLE by_request; ALTER ROLE by_request ADD MEMBER ann")
        connection.commit()
    with connect(autocommit=True) as connection:
        assert one(connection, MEMBERS, ("by_request",)) == (1,)
        assert one(connection, "SELECT @@TRANCOUNT") == (0,)


def is_told_the_numbers_of_errors():
    with connect(autocommit=True) as connection:
        for sql, number in [
            ("ALTER ROLE nobody ADD MEMBER ann", 15151),
            ("ALTER ROLE readers ADD MEMBER", 102),
            ("SELECT n FROM dbo.missing", 208),
            ("KILL 9999", 6106),
            ("SELECT 1", 0),
        ]:
            assert number_of(connection, sql) == number, (sql, number_of(connection, sql))


def is_denied_once_the_role_is_gone():
    with connect(autocommit=True) as admin, connect(user="ann", password="Secret-of-ann-1", autocommit=True) as ann:
        assert number_of(ann, "SELECT n FROM dbo.t") == 229
        assert number_of(admin, "ALTER ROLE readers ADD MEMBER ann") == 0
        assert one(ann, "SELECT COUNT(*), IS_ROLEMEMBER(N'readers') FROM dbo.t") == (2, 1)
        assert number_of(admin, "ALTER ROLE readers DROP MEMBER ann") == 0
        assert number_of(ann, "SELECT n FROM dbo.t") == 229


def asks_to_stop_what_takes_too_long():
    with connect(timeout=0.5, autocommit=True) as connection:
        try:
            one(connection, "WAITFOR DELAY '00:00:30'")
        except pytds.TimeoutError:
            pass
        else:
            raise AssertionError("it did not take long")


def is_gone_after_it_is_killed():
    with connect(autocommit=True) as killer:
        victim = connect(autocommit=True)
        (number,) = one(victim, "SELECT @@SPID")
        assert number_of(killer, f"KILL {number}") == 0
        try:
            one(victim, "SELECT 1")
        except Exception:
            return
        raise AssertionError("it still answers")


def calls_procedures():
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        given = [N("SELECT @out = @in + 1"), N("@in int, @out int OUTPUT"), 41, pytds.output(param_type="int")]
        returned = cursor.callproc("sp_executesql", given)
        assert returned[3] == 42, returned


def N(text):
    return pytds.Column(type=pytds.tds_types.NVarCharType(size=4000), value=text)


globals()[CASE]()
