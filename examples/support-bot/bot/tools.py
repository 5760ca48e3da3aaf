"""The support bot's four tools. They do what they say: nothing here knows about the policy.

The one thing that a tool does for Faramesh is to hand its receipt on: the refund desk pays nobody without one.
"""

from __future__ import annotations

import http.client
import json
import mailbox
import pathlib
import socket
import sqlite3
from decimal import Decimal
from email.message import EmailMessage

from faramesh import current_arguments, receipt_header
from langchain_core.tools import tool

#: The agent starts in its stack; this is what it may write.
WORKSPACE = pathlib.Path("workspace")
#: Where the refund desk listens; agent.py's `--desk` sets it.
desk_socket = "/run/support-bot-demo/refund-desk.sock"
#: Seconds: the desk answers from memory and one small file.
DESK_TIMEOUT = 10

#: The tools' names in governance.fms.
NAMES = {
    "look_up_customer": "customers/look-up",
    "refund_order": "orders/refund",
    "send_email": "email/send",
    "delete_account": "accounts/delete",
}


@tool
def look_up_customer(email: str) -> str:
    """Finds a customer and their orders by e-mail address."""
    database = sqlite3.connect(f"file:{WORKSPACE / 'customers.db'}?mode=ro", uri=True)
    try:
        rows = database.execute(
            "SELECT c.name, o.id, o.total FROM customers c JOIN orders o ON o.email = c.email WHERE c.email = ?",
            (email,),
        ).fetchall()
    finally:
        database.close()
    if not rows:
        return "no such customer"
    return f"{rows[0][0]}: " + ", ".join(f"order {order} over ${total}" for _, order, total in rows)


@tool
def refund_order(order: str, amount: Decimal) -> str:
    """Refunds an amount in dollars to the customer of an order."""
    status, answer = ask_desk(current_arguments(), receipt_header())
    if status != 200:
        raise RuntimeError(f"the refund desk answered {status}: {answer}")
    return f"refunded ${answer['amount']} on {answer['order']}"


@tool
def send_email(to: str, subject: str, text: str) -> str:
    """Sends an e-mail."""
    message = EmailMessage()
    message["To"], message["Subject"] = to, subject
    message.set_content(text)
    mailbox.Maildir(WORKSPACE / "outbox").add(message)
    return f"sent to {to}"


@tool
def delete_account(email: str) -> str:
    """Deletes a customer's account."""
    database = sqlite3.connect(WORKSPACE / "customers.db")
    try:
        with database:
            database.execute("DELETE FROM customers WHERE email = ?", (email,))
    finally:
        database.close()
    return f"deleted {email}"


TOOLS = [look_up_customer, refund_order, send_email, delete_account]


def ask_desk(body: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """One request to the refund desk: HTTP over its Unix socket."""
    connection = _UnixConnection("refund-desk", timeout=DESK_TIMEOUT)
    try:
        connection.request("POST", "/refunds", body.encode(), {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(desk_socket)
