"""A scripted agent of the Agent Client Protocol: plays the part named on its command line."""

import json, os, signal, sys

part = sys.argv[1]
count = 0
session = "s1"


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def hear():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def ask(method, session=session, **params):
    """Asks the client, and returns its answer."""
    global count
    count += 1
    send({"id": f"r{count}", "method": method, "params": {"sessionId": session, **params}})
    answer = hear()
    assert answer["id"] == f"r{count}", answer
    return answer.get("result", answer.get("error"))


def leave(kind, path):
    options = [
        {"optionId": "yes", "kind": "allow_once", "name": "Yes"},
        {"optionId": "no", "kind": "reject_once", "name": "No"},
    ]
    call = {"toolCallId": f"{kind} {path}", "kind": kind, "locations": [{"path": path}]}
    answer = ask("session/request_permission", toolCall=call, options=options)
    return answer["outcome"].get("optionId")


def say(text):
    content = {"type": "text", "text": text}
    told = {"sessionUpdate": "agent_message_chunk", "content": content}
    send({"method": "session/update", "params": {"sessionId": session, "update": told}})


def act(kind, path):
    begun = {"sessionUpdate": "tool_call", "kind": kind, "locations": [{"path": path}]}
    over = {"sessionUpdate": "tool_call_update", "status": "completed"}
    for told in (begun, over):
        told["toolCallId"] = "act"
        send({"method": "session/update", "params": {"sessionId": session, "update": told}})


def plan(*done):
    entries = [{"content": f"step {n}", "status": it} for n, it in enumerate(done, 1)]
    told = {"sessionUpdate": "plan", "entries": entries}
    send({"method": "session/update", "params": {"sessionId": session, "update": told}})


def run(program, *args, **more):
    """Runs a command by the client, and returns its exit and its output."""
    made = ask("terminal/create", command=program, args=list(args), **more)
    if "terminalId" not in made:
        return made
    named = {"terminalId": made["terminalId"]}
    exit = ask("terminal/wait_for_exit", **named)
    output = ask("terminal/output", **named)
    assert output["exitStatus"] == exit, output
    ask("terminal/release", **named)
    return exit["exitCode"], output["output"]


def opened():
    """Answers until there is a prompt, and returns it."""
    while True:
        message = hear()
        method = message.get("method")
        if method == "initialize":
            assert message["params"]["protocolVersion"] == 1, message
            version = 99 if part == "version" else 1
            send({"id": message["id"], "result": {"protocolVersion": version}})
        elif method == "session/new":
            global tools
            tools = message["params"]["mcpServers"][0]
            send({"id": message["id"], "result": {"sessionId": session}})
        elif method == "session/prompt":
            return message


def call_tool(name, **arguments):
    """Calls one of our tools by the server that the session named."""
    import subprocess

    env = {**os.environ, **{it["name"]: it["value"] for it in tools["env"]}}
    call = {"name": name, "arguments": arguments}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    server = [tools["command"], *tools["args"]]
    done = subprocess.run(server, env=env, input=json.dumps(request), stdout=-1, text=True)
    return json.loads(done.stdout)["result"]


def cycle():
    plan("in_progress", "pending")
    old = ask("fs/read_text_file", path="/workspace/src/greeting")["content"]
    log("read", repr(old))
    log("tests", run("make", "test"))
    log("leave", leave("edit", "/workspace/src/greeting"))
    log("asked", call_tool("ask", question="Which language?", why="Not said.",
        options=["english", "french"], recommend="english", impact="small",
        default="english", priority="P1")["isError"])
    act("edit", "/workspace/src/greeting")
    ask("fs/write_text_file", path="/workspace/src/greeting", content=old.replace("lo", "llo"))
    plan("completed", "in_progress")
    log("tests", run("make", "test"))
    say("It is ")
    say("spelled.")


def paths():
    os.symlink("/workspace/Makefile", "/workspace/src/link")
    os.symlink("/brief/prompt.md", "/workspace/src/brief")
    for path in [
        "/workspace/Makefile", "/workspace/src/../Makefile", "/workspace/src/../../etc/passwd",
        "/etc/passwd", "../brief/prompt.md", "", "/workspace/.git/config",
        "/workspace/src/link", "/workspace/src/brief", "/workspace/src", "/workspace/src/new/one",
    ]:
        answer = ask("fs/write_text_file", path=path, content="escaped\n")
        log("write", path, "->", answer.get("message", "done"))
    for path in ["/nonexistent", "/brief/none", "/workspace/src", "/workspace/src/new/one"]:
        answer = ask("fs/read_text_file", path=path)
        log("look", path, "->", answer.get("message", answer.get("content")))
    log("leave", leave("edit", "/workspace/Makefile"))
    log("leave", leave("delete", "/etc/passwd"))
    log("leave", leave("execute", "/workspace"))


def terminals():
    log(run("make", "--version")[0])
    for program, more in [("sh", {}), ("/usr/bin/make", {}), ("make", {"cwd": "/etc"})]:
        log(program, "->", run(program, "-v", **more)["message"])
    log("other ->", ask("terminal/output", terminalId="terminal-99")["message"])
    log("foreign ->", ask("terminal/create", session="s2", command="make")["message"])


def walls():
    log(run("sh", "-c", "echo x > /workspace/Makefile"))
    log(run("sh", "-c", "id -u; echo $WORD; pwd", cwd="/workspace/src",
        env=[{"name": "WORD", "value": "said"}]))
    made = ask("terminal/create", command="sleep", args=["1000"])
    ask("terminal/kill", **made)
    log(ask("terminal/wait_for_exit", **made))


def strays():
    for id in [0, 1, 2, 4, "3", -1, 1 << 63]:
        send({"id": id, "result": {"stopReason": "refusal"}})
    for line in ["not json", "[]", '{"jsonrpc":"2.0"}', "\x00\x01", '{"id":3', "7"]:
        print(line)
    send({"palisade": {"id": 1, "method": "terminal/create", "params": {"command": "sh"}}})
    send({"method": "session/update", "params": {"sessionId": "s2", "update": {}}})
    send({"method": "session/update", "params": 7})


def flood():
    """Asks and asks, and never reads an answer."""
    while True:
        send({"id": 1, "method": "fs/read_text_file", "params": {"sessionId": session}})


def turns():
    say("I did one thing.")


parts = {
    "cycle": cycle, "paths": paths, "terminals": terminals, "walls": walls, "strays": strays,
    "flood": flood, "turns": turns,
}

prompt = opened()
while True:
    if part == "silent":
        hear()
        continue
    if part == "huge":
        sys.stdout.write('{"id":1,"method":"' + "x" * (9 << 20) + '"}\n')
        sys.stdout.flush()
        hear()
        continue
    if part in ("obeys", "ignores"):
        signal.signal(signal.SIGTERM, lambda *_: (log("was told to end"), os._exit(0)))
        say("I begin.")
        while True:
            message = hear() if part == "obeys" else signal.pause()
            if message and message.get("method") == "session/cancel":
                log("was cancelled")
                break
        send({"id": prompt["id"], "result": {"stopReason": "cancelled"}})
        continue
    reason = "end_turn"
    if part in ("max_tokens", "refusal"):
        reason = part
    else:
        log("prompt", prompt["params"]["prompt"][0]["text"].strip())
        parts[part]()
        if part == "paths":
            part = "turns"
    send({"id": prompt["id"], "result": {"stopReason": reason}})
    prompt = opened()
