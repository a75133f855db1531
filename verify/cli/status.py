"""The exit statuses, what they mean, and the error that ends in status 2."""

from __future__ import annotations

from maxmargin.models.errors import InputError

HOLDS, REFUTED, BAD_INPUT, INCONCLUSIVE = 0, 1, 2, 3
INTERNAL_ERROR, INTERRUPTED, BROKEN_PIPE, TERMINATED = 70, 130, 141, 143  # EX_SOFTWARE, 128 + the signal's number

STATUS = """\
exit status:
  0    {holds}
  1    {refuted}
  2    bad usage or input; one message on standard error says what to do
  3    {inconclusive}
  70   a fault of this program, with its traceback: never to be read as a verdict
  130  interrupted (Ctrl-C), 143 terminated; the message says what is kept and how to go on"""


class CliError(InputError):
    """Arguments that are well formed but cannot be used."""
