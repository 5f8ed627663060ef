"""What the client's errors mean: sole owner of the kinds that its StopFailure hook tells as `error`, and of our own beside
them. Which pass, which hit every worker, what each is called, and what a person can do about it.
"""

from __future__ import annotations

from collections.abc import Mapping

# After these the same request can succeed later: all workers pause. What the pause is called.
PASSING: Mapping[str, str] = {
    "server_error": "the API fails",
    "overloaded": "the API is overloaded",
    "rate_limit": "a limit",
}
# These hit every worker until a person does something, and what that is: the run stops.
_LOG_IN = "run `claude` once by hand and log in, or set ANTHROPIC_API_KEY"
FATAL: Mapping[str, str] = {
    "authentication_failed": _LOG_IN,
    "oauth_org_not_allowed": _LOG_IN + ", with an account that may use this organisation",
    "cloud_credential_error": "renew the cloud's credentials",
    "account_on_hold": "see what your account's page says",
    "verification_required": "see what your account's page says",
    "billing_error": "add credit to the account, or use another",
    "model_not_found": "set model in orchestrate.toml to one that your account has",
    # What a look at a client that does not begin finds.
    "trust": "run `claude` there once and say yes, or run `doit orchestrate --trust`",
    "settings": "mend that file",
    "version": "dodo-claude doctor --client says which client it takes",
}
# Any other is the stage's own. Of these the client says it is one thing, and means another.
REFUSAL, TOO_LONG = "refusal", "max_output_tokens"
_WORDS: Mapping[str, str] = {
    REFUSAL: "the model refuses to answer (say it in other words, or give the stage another model)",
    TOO_LONG: "the model's answer was longer than one may be (let it write in smaller pieces, or raise "
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS in the stage's env)",
}
# The client's text of a refusal, whose kind is that of any bad request.
_REFUSED = "safeguards"
_OVERLOADED = "overloaded"
# What the API answers to a key that it does not take. The client asks again all the same.
_STATUS: Mapping[str, str] = {"401": "authentication_failed", "403": "authentication_failed"}


def kind_of(error: str, text: str) -> str:
    """The kind of a failed turn; `error` and `text` are as the client told them."""
    if error == "invalid_request" and _REFUSED in text:
        return REFUSAL
    if error in PASSING and _OVERLOADED in text.lower():
        return "overloaded"
    return error or "unknown"


def said(kind: str) -> str:
    """What such a failure is, in words."""
    return _WORDS.get(kind) or f"the client gave up ({kind})"


def pause(kind: str) -> str:
    """Why all workers wait, in words."""
    return PASSING.get(kind, kind.replace("_", " "))


def remedy_of(status: str) -> str:
    """What to do if the API goes on to answer with that HTTP status; '' if that may pass."""
    return FATAL.get(_STATUS.get(status, ""), "")
