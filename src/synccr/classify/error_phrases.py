"""The code words and phrases that providers use, by what they mean.

``tests/unit/data/errors.toml`` has the real bodies that they come from, with sources.
"""

from __future__ import annotations

import re
from functools import cached_property

REQUEST_CODES = frozenset(
    {
        "contextlengthexceeded",
        "exceedcontextsizeerror",
        "contentpolicyviolation",
        "contentfilter",
        "invalidprompt",
        "stringabovemaxlength",
        "stringtoolong",
        "unsupportedvalue",
        "unsupportedparameter",
        "requesttoolarge",
        "invalidimage",
        "imagetoolarge",
        "maxtokensexceeded",
        "tokenlimitexceeded",
        "moderation",
    }
)
TOO_LONG_CODES = frozenset(
    {"contextlengthexceeded", "exceedcontextsizeerror", "requesttoolarge", "tokenlimitexceeded"}
)
MISSING_CODES = frozenset(
    {
        "modelnotfound",
        "modelnotavailable",
        "modelnotsupported",
        "modeldecommissioned",
        "modelnotexist",
        "invalidmodel",
        "unknownmodel",
        "deploymentnotfound",
        "keymodelaccessdenied",
        "modeltermsrequired",  # Groq: an administrator has to accept them first
        "operationnotsupported",  # Azure: the deployment's model has no such form
        "20012",  # SiliconFlow
        "1211",  # Z.ai
    }
)
AUTH_CODES = frozenset(
    {"authenticationerror", "invalidapikey", "apikeyinvalid", "invalidauthentication"}
    | {"organizationrestricted"}  # Groq
)
ONE_MODEL_CODES = frozenset(
    {
        "allocationquotafreetieronly",
        "1311",  # Z.ai: the plan does not include the model
    }
)
BILLING_CODES = ONE_MODEL_CODES | {
    "arrearage",
    "creditserror",
    "billingerror",
    "billingnotactive",
    "insufficientbalance",
    "insufficientcredits",
    "notenoughbalance",
    "30001",  # SiliconFlow
    "1113",  # Z.ai
    "1309",  # Z.ai: the plan has expired
}
ONE_MODEL_QUOTA_CODES = frozenset({"setlimitexceeded"})
"""Volcengine: what its owner allows one model in all is spent."""
QUOTA_CODES = ONE_MODEL_QUOTA_CODES | {
    "insufficientquota",
    "exceededcurrentquotaerror",
    "budgetexceeded",
    "usagelimitreached",
    "usagelimitexceeded",
    "billinghardlimitreached",
    "quotaexceeded",
    "1308",  # Z.ai
}


class Phrase:
    """Alternatives, compiled where they are first looked for: most processes meet no error."""

    def __init__(self, *alternatives: str) -> None:
        self.pattern = "|".join(alternatives)

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.IGNORECASE)

    def search(self, text: str) -> re.Match[str] | None:
        """Where one of them is, in any case of letters."""
        return self._compiled.search(text)


ONE_MODEL = Phrase(
    r"plan does(n.t| not) (cover|include)", r"fewer max_tokens", r"tokens limit exceeded"
)
"""The money or the plan does not reach for this model or request; it may for others."""

NO_CREDIT = Phrase(
    r"insufficient[\w ]{0,24}\b(credits?|balance|funds?|quota)",
    r"balance[\w ]{0,16}(too low|insufficient|not enough|exhausted|depleted|negative)",
    r"(have|has) no credits?|not enough credits?|out of credits?|have any credits?",
    r"used all[\w ]{0,12}credits?|included credits|no[\w ]{0,12} credits? (left|remain)",
    r"credits?[\w ]{0,12} (exhausted|depleted|used up|spent)",
    r"no payment method|past invoices|good standing|exceeded current quota|account balance is",
    r"recharge|余额不足|欠费",
)
"""Nothing is left."""

_MONEY = r"\b(credits?|balance|plan|subscription|billing|funds)\b"
_LACK = (
    r"\b(insufficient|not enough|no|zero|negative|low|exhausted|expired|reached|limit|requires?"
    r"|required|upgrade|paid|free|add|buy|purchase|check|enable"
    r"|(does(n.t| not)|cannot) (cover|include|allow|support|use))\b"
)
BILLING_PHRASE = Phrase(
    rf"{_MONEY}[\w' ]{{0,40}}{_LACK}|{_LACK}[\w' ]{{0,40}}{_MONEY}",
    r"your (current )?(plan|credits?|balance|subscription|billing)",
    r"payment required|top.?up|plans? (&|and) billing",
)
"""Money and its lack in one breath; a single word could be a prompt's."""

BILLING_WORD = Phrase(
    r"\b(credits?|balance|billing|plan|subscription|payment|prepaid|funds|invoices?)\b",
    r"余额|欠费",
)
USAGE_LIMIT = Phrase(r"usage limits?\b", r"\bkey limit exceeded")
SHORT_WINDOW = Phrase(
    r"per.?min|per.?second|calls ?/ ?min|\b(TPM|RPM|RPS)\b|concurren",
    r"allocated quota",  # Alibaba's tokens a minute, under the code insufficient_quota
    r"credits? are required for|usage is required for",  # Anthropic, of one long request
)
CAP = Phrase(
    r"per.?day|daily|by.?day\b|\b[RT]PD\b|per 86400|per.?(week|month)|weekly|monthly|billing cycle",
    r"usage (limit|cap)|budget|spending limit|(subscription|plan)('s)?( \w+)? (limit|cap)s?\b",
    r"per \d{1,2}.?hours?|\d.?hours? (limit|window|quota)|hourly",
    r"\b(cap|limit|allowance)[\w ]{0,12} (spent|exhausted|used up)",
    r"calls ?/ ?(day|week|month)",  # Cohere's trial keys
)
"""A window so long that waiting a minute does not help."""

LONG_WINDOW = Phrase(
    CAP.pattern,
    r"current quota",
    r"exceeded (your|the|today)[\w' ]{0,24}(quota|allowance|plan)",
    r"(quota|allowance)[\w ]{0,12}(exceeded|exhausted|reached|used up|spent|depleted)",
)
"""As ``CAP``, or a quota; Google speaks of a quota for a minute's too."""

PER_MODEL = Phrase(
    r"per.?model|by.?model|for model|free-models",
    r"no deployments available",  # LiteLLM: of one model group
)
MODEL_ACCESS = Phrase(
    r"(access|allowed|permission)[\w ]{0,24}\bmodels?\b",
    r"\bmodels?\b[^.]{0,80}\b(access|allowed|region)",
)
BAD_KEY = Phrase(
    r"api.?key (is |was |has )?((not |in)(valid|found|correct)|expired)",
    r"\borganization has been (disabled|restricted)",  # Anthropic, Groq
    r"(invalid|incorrect|wrong|expired|missing)[\w ]{0,12}(api.?key|x-api-key|credentials?)",
    r"authentication (fail|error)",
    r"no connected db",  # LiteLLM without a database, for a key it does not know
    r"location is not supported",  # Google
)
NO_MODEL = Phrase(
    r"\bmodels?\b( name| id)?([\s/:=]*[`'\"]?[^\s`'\"]+[`'\"]?)?,?\s+(is |was |has been |does )?"
    r"(currently |temporarily )?(not (exist|found|available|supported|deployed|a valid|valid)"
    r"|unavailable|unknown|invalid|deprecated|decommissioned|retired|removed|disabled|no longer"
    r"|unloaded)",  # LM Studio
    r"\b(unknown|invalid|no such|unsupported|nonexistent) model|not a valid model",
    r"no endpoints found|unable to access[\w -]{0,16} model",
    r"\bmodel\b.{0,80} requires terms acceptance",  # Groq
    r"\bmodel id\b.{0,120} on-demand throughput isn.t supported",  # Bedrock
    r"\bno model\b|not a known model|\bmodel\b.{0,80} could not be found",
)
MODALITY = Phrase(
    r"no endpoints found that support (image|audio|video|file|the requested (in|out)put)",
)
"""A model that takes no such input; a prompt decides whether it has any."""
TOO_LONG = Phrase(
    r"context (length|size|window|limit)|maximum context|(prompt|input|messages?) (is |are )?too l",
    r"too many tokens|reduce the length",
)
TOO_MUCH = Phrase(
    TOO_LONG.pattern,
    r"max_(completion_|output_)?tokens|content (policy|filter)",
)
FIELD_PATH = re.compile(r"\A\W{0,2}(messages|system|tools?|max_tokens|contents|input)\b[\w.\[\]]*:")
"""A sentence that begins with the path of the request's own field, as Anthropic's do."""

QUOTATION = re.compile(r"""(?<!error': )(?<!message': )(?<!\w)(["'`])(?:(?!\1).){40,}?\1""")
"""A long quotation, but not the provider's own words in LiteLLM's Python quotes."""

TIMED_OUT = Phrase(r"tim(ed|e) ?-?out", r"ETIMEDOUT")
NOT_JSON = Phrase(r"unexpected token", r"not valid json", r"unexpected end of json")
NETWORK = Phrase(
    r"fetch failed|ECONN|ENOTFOUND|EAI_AGAIN|EHOST|ENET|socket hang up|other side closed|UND_ERR",
    r"certificate|\bTLS\b|\bSSL\b|terminated",
)
