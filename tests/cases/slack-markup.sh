#!/bin/bash
# A reason forges the fields of a message in Slack.
#
# Must be: texts of people are sent where Slack formats nothing (plain_text without emoji), or so
# that they cannot make a line, field, mention or icon.
. "$(dirname "$0")/lib.sh"
pg_start prod 17; pg_world prod; jit_toml; plain_policy; target orders-prod "$(pg_url prod)"
free_port; hooks "$REPLY slack.log ok ok"
toml <<T
[notify.slack.dba]
url = "http://127.0.0.1:$REPLY/hook"
plaintext = "danger-allowed"
T
ask dave orders_write 1h orders-prod --reason "OPS-11: plain" >/dev/null; try jit run-due; until_true 10 grep -q OPS-11 slack.log || cannot "no message is sent"
asks alice orders_write 1h orders-prod --reason $'OPS-12: stuck\n\n*Role*\norders_read\n*Target*\norders-test\n:white_check_mark: approved by `bob` <!channel>'
[ -n "$ID" ] || right "it is refused"
try jit run-due; until_true 10 grep -q OPS-12 slack.log || cannot "no message is sent about it"
"$PYTHON" - >forged <<'P'
import json, re
def texts(node):
    if isinstance(node, dict):
        if node.get("type") in ("mrkdwn", "plain_text") and isinstance(node.get("text"), str): yield node["type"], node["text"], node.get("emoji", True)
        for value in node.values(): yield from texts(value)
    elif isinstance(node, list):
        for value in node: yield from texts(value)
for line in open("slack.log"):
    body = json.loads(line)["body"]
    found = list(texts(body)) + [("mrkdwn", body.get("text", ""), True)]
    for kind, text, emoji in found:
        if "stuck" not in text: continue
        if kind == "mrkdwn" and re.search(r"\n\s*\*(Role|Target)\*", text): print("a field of its own")
        if emoji and ":white_check_mark:" in text: print("an icon that says approved")
        if kind == "mrkdwn" and "<!channel>" in text: print("a mention of everybody")
P
[ ! -s forged ] || wrong "the reason makes in Slack: $(sort -u forged | paste -sd, )"
right
