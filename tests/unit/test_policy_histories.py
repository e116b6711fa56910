"""Named histories: what happened, when, and what the policy did about it.

How to read one: see ``policy_kit``. Settings are the defaults: a model that is away is asked
after 5, 10, 20, ... 60 minutes; a swap waits 30 seconds for the one before; five passing
troubles within a minute persist.
"""

from __future__ import annotations

from textwrap import dedent

import pytest
from policy_kit import Player

HISTORIES = {
    # Money, keys and missing models
    "402_then_recovery": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        10.6 > swapped
        310 < probe a.main
        311 > probed a.main=billing
        911 < probe a.main
        912 > probed a.main=ok
        942 < probe a.main
        943 > probed a.main=ok
        943 < tell recovered a.main
        943 < swap to primary on a.main (long a.long): recovered
        943.6 > swapped
        = serving primary on a.main (long a.long)
    """,
    "402_once_for_many_requests": """
        0 > ready
        10 > a.main 402 on-demand x40
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        10.6 > swapped
        11 > a.main 402 on-demand x40
        200 > a.main 402 on-demand x40
        310 < probe a.main
        311 > probed a.main=billing
        = serving fallback on a.spare
    """,
    "other_text_in_a_402_counts_all_the_same": """
        0 > ready
        10 > a.main 402 page
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        10.6 > swapped
        = serving fallback on a.spare
    """,
    "a_spare_in_trouble_moves_nothing": """
        0 > ready
        10 > b.twin 402 on-demand
        10 < tell error_seen b.twin billing
        310 < probe b.twin
        311 > probed b.twin=ok
        341 < probe b.twin
        342 > probed b.twin=ok
        342 < tell recovered b.twin
        = serving primary on a.main (long a.long)
    """,
    "long_context_model_gone_moves_one_route": """
        0 > ready
        10 > a.long 404 gone
        10 < tell error_seen a.long missing
        10 < swap to primary on a.main: missing of a.long
        10.6 > swapped
        310 < probe a.long
        311 > probed a.long=missing
        911 < probe a.long
        912 > probed a.long=ok
        942 < probe a.long
        943 > probed a.long=ok
        943 < tell recovered a.long
        943 < swap to primary on a.main (long a.long): recovered
        944 > swapped
        = serving primary on a.main (long a.long)
    """,
    "main_and_then_long_context_gone": """
        0 > ready
        10 > a.long 404 gone
        10 < tell error_seen a.long missing
        10 < swap to primary on a.main: missing of a.long
        11 > swapped
        20 > a.main 404 gone
        20 < tell error_seen a.main missing
        20 < swap to fallback on a.spare: missing of a.main
        21 > swapped
        = serving fallback on a.spare
    """,
    "key_refused_other_provider": """
        0 > ready
        10 > a.main 401 key
        10 < tell error_seen a.main auth
        10 < probe a.spare a.long
        11 > probed a.spare=auth! a.long=auth!
        11 < tell error_seen Provider a auth
        11 < swap to fallback on b.twin: auth of a.main
        11.6 > swapped
        311 > probed a.main=auth!
        911 < probe a.main
        912 > probed a.main=ok
        912 < probe a.spare
        913 > probed a.spare=ok a.long=ok
        942 < probe a.main
        943 > probed a.main=ok a.spare=ok a.long=ok
        943 < tell recovered a.main
        943 < tell recovered a.spare
        943 < tell recovered a.long
        943 < swap to primary on a.main (long a.long): recovered
        944 > swapped
        = serving primary on a.main (long a.long)
    """,
    "an_error_without_a_model_is_that_of_a_providers_only_one": """
        0 > ready
        10 > b.? 404 gone
        10 < tell error_seen b.twin missing
        = serving primary on a.main (long a.long)
    """,
    "a_key_is_not_the_trouble_of_a_model_that_is_gone_anyway": """
        0 > ready
        10 > a.main 404 gone
        10 < tell error_seen a.main missing
        10 < swap to fallback on a.spare: missing of a.main
        11 > swapped
        20 > probed a.spare=auth! a.long=auth!
        20 < tell error_seen a.spare auth
        20 < tell error_seen a.long auth
        20 < swap to fallback on b.twin: auth of a.spare
        21 > swapped
        = serving fallback on b.twin
    """,
    "the_same_trouble_is_told_again_after_a_return": """
        0 > ready
        10 > b.twin 401 key
        10 < tell error_seen Provider b auth
        310 < probe b.twin
        311 > probed b.twin=ok
        341 < probe b.twin
        342 > probed b.twin=ok
        342 < tell recovered b.twin
        400 > b.twin 401 key
        400 < tell error_seen Provider b auth
        = serving primary on a.main (long a.long)
    """,
    "one_models_402_is_not_the_accounts": """
        0 > ready
        10 > a.main 402 credit
        10 < tell error_seen a.main billing
        10 < probe a.spare a.long
        11 > probed a.spare=ok a.long=ok
        11 < swap to fallback on a.spare: billing of a.main
        11.6 > swapped
        310 < probe a.main
        311 > probed a.main=billing!
        911 < probe a.main
        912 > probed a.main=ok
        942 < probe a.main
        943 > probed a.main=ok
        943 < tell recovered a.main
        943 < swap to primary on a.main (long a.long): recovered
        944 > swapped
        = serving primary on a.main (long a.long)
    """,
    "account_trouble_of_one_model_only": """
        0 > ready
        10 > a.spare 402 no-quota
        10 < tell error_seen a.spare billing
        10 < probe a.main a.long
        10 < swap to primary on a.main (long a.long): billing of a.spare
        10.5 > swapped
        12 > probed a.main=ok a.long=ok
        310 < probe a.spare
        311 > probed a.spare=billing!
        911 < probe a.spare
        912 > probed a.spare=billing!
        2112 < probe a.spare
        2113 > probed a.spare=billing!
        = serving primary on a.main (long a.long)
    """,
    "spent_cap_until_it_renews": """
        0 > ready
        10 > a.main 429 cap
        10 < tell error_seen a.main quota
        10 < probe a.spare a.long
        10.5 > probed a.spare=quota!+7201 a.long=quota!+7201
        10.5 < tell error_seen Provider a quota
        10.5 < swap to fallback on b.twin: quota of a.main
        11 > swapped
        12 > probed a.main=quota!+7200
        3612 < probe a.main
        3613 > probed a.main=quota!+3599
        7213 < probe a.main
        7215 > probed a.main=ok
        7215 < probe a.spare
        7216 > probed a.spare=ok a.long=ok
        7245 < probe a.main
        7246 > probed a.main=ok a.spare=ok a.long=ok
        7246 < tell recovered a.main
        7246 < tell recovered a.spare
        7246 < tell recovered a.long
        7246 < swap to primary on a.main (long a.long): recovered
        7247 > swapped
        = serving primary on a.main (long a.long)
    """,
    "spent_cap_that_says_when": """
        0 > ready
        10 > a.main 429 cap-2h
        10 < tell error_seen a.main quota
        10 < probe a.spare a.long
        10.5 > probed a.spare=quota!+7200 a.long=quota!+7200
        10.5 < tell error_seen Provider a quota
        10.5 < swap to fallback on b.twin: quota of a.main
        11 > swapped
        3610.5 < probe a.main
        3611 > probed a.main=quota!+3599
        = serving fallback on b.twin
    """,
    # Passing troubles
    "rate_limited_now_and_then": """
        0 > ready
        10 > a.main 429 slow x4
        75 > a.main 429 slow x4
        140 > a.main 429 slow x4
        = serving primary on a.main (long a.long)
    """,
    "five_in_a_window": """
        0 > ready
        10 > a.main 429 slow x2
        30 > a.main 500 oops
        40 > a.main 502 page
        60 > a.main 429 slow
        60 < tell error_seen a.main rate_limited
        60 < swap to fallback on a.spare: rate_limited of a.main
        61 > swapped
        360 < probe a.main
        361 > probed a.main=ok
        391 < probe a.main
        392 > probed a.main=ok
        392 < tell recovered a.main
        392 < swap to primary on a.main (long a.long): recovered
        393 > swapped
        = serving primary on a.main (long a.long)
    """,
    "retry_after_is_not_undercut": """
        0 > ready
        10 > a.main 429 slow-2h x5
        10 < tell error_seen a.main rate_limited
        10 < swap to fallback on a.spare: rate_limited of a.main
        11 > swapped
        7212 < probe a.main
        7213 > probed a.main=ok
        7243 < probe a.main
        7244 > probed a.main=ok
        7244 < tell recovered a.main
        7244 < swap to primary on a.main (long a.long): recovered
        7245 > swapped
        = serving primary on a.main (long a.long)
    """,
    "no_look_before_retry_after": """
        0 > ready
        10 > a.main 429 slow-30s
        11 > silent
        11 < probe a.long
        12 > probed a.long=ok a.spare=ok
        40 < probe a.main
        41 > probed a.main=ok
        = serving primary on a.main (long a.long)
    """,
    "gemini_names_no_model": """
        0 > ready
        10 > a.? 404 gone
        10 < probe a.main a.long
        12 > probed a.main=missing a.long=ok a.spare=ok
        12 < tell error_seen a.main missing
        12 < swap to fallback on a.spare: missing of a.main
        13 > swapped
        = serving fallback on a.spare
    """,
    "gemini_is_overloaded": """
        0 > ready
        10 > a.? 503 oops x4
        12 > a.? 503 oops
        12 < probe a.main a.long
        14 > probed a.main=overloaded a.long=ok a.spare=ok
        14 < tell error_seen a.main overloaded
        14 < swap to fallback on a.spare: overloaded of a.main
        15 > swapped
        = serving fallback on a.spare
    """,
    "network_down_for_a_while": """
        0 > ready
        10 > network x4
        20 > network
        20 < probe a.main a.spare a.long
        50 > probed a.main=unreachable a.long=unreachable a.spare=unreachable
        50 < tell error_seen a.main unreachable
        50 < tell error_seen a.long unreachable
        50 < tell error_seen a.spare unreachable
        50 < swap to fallback on b.twin: unreachable of a.main
        51 > swapped
        60 > network x5
        60 < probe b.twin
        80 > probed b.twin=unreachable
        80 < tell error_seen b.twin unreachable
        80 < notify exhausted
        350 < probe a.main a.spare a.long
        351 > probed a.main=ok a.long=ok a.spare=ok
        351 < notify recovered
        351 < swap to primary on a.main (long a.long): unreachable of b.twin
        352 > swapped
        380 < probe b.twin
        381 > probed b.twin=ok
        381 < probe a.main a.spare a.long
        382 > probed a.main=ok a.long=ok a.spare=ok
        382 < tell recovered a.main
        382 < tell recovered a.long
        382 < tell recovered a.spare
        411 < probe b.twin
        412 > probed b.twin=ok
        412 < tell recovered b.twin
        = serving primary on a.main (long a.long)
    """,
    "upstream_that_never_answers": """
        0 > ready
        95 > silent
        95 < probe a.main a.long
        125 > probed a.main=timeout a.long=ok a.spare=ok
        125 < tell error_seen a.main timeout
        125 < swap to fallback on a.spare: timeout of a.main
        126 > swapped
        = serving fallback on a.spare
    """,
    "false_alarms_are_looked_at_ever_more_rarely": """
        0 > ready
        10 > silent
        10 < probe a.main a.long
        12 > probed a.main=ok a.long=ok a.spare=ok
        13 > silent
        14 > silent
        72 < probe a.main a.long
        73 > probed a.main=ok a.long=ok a.spare=ok
        74 > silent
        75 > silent
        193 < probe a.main a.long
        194 > probed a.main=ok a.long=ok a.spare=ok
        195 > silent
        434 < probe a.main a.long
        435 > probed a.main=ok a.long=ok a.spare=ok
        436 > silent
        = serving primary on a.main (long a.long)
    """,
    # Coming back
    "one_good_answer_is_not_enough": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        310 < probe a.main
        311 > probed a.main=ok
        341 < probe a.main
        342 > probed a.main=billing
        942 < probe a.main
        943 > probed a.main=ok
        973 < probe a.main
        974 > probed a.main=ok
        974 < tell recovered a.main
        974 < swap to primary on a.main (long a.long): recovered
        975 > swapped
        = serving primary on a.main (long a.long)
    """,
    "flapping_upstream": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        310 < probe a.main
        311 > probed a.main=ok
        341 < probe a.main
        342 > probed a.main=ok
        342 < tell recovered a.main
        342 < swap to primary on a.main (long a.long): recovered
        343 > swapped
        350 > a.main 402 on-demand
        350 < tell error_seen a.main billing
        350 < swap to fallback on a.spare: billing of a.main
        351 > swapped
        950 < probe a.main
        951 > probed a.main=ok
        981 < probe a.main
        982 > probed a.main=ok
        982 < tell recovered a.main
        982 < swap to primary on a.main (long a.long): recovered
        983 > swapped
        990 > a.main 402 on-demand
        990 < tell error_seen a.main billing
        990 < swap to fallback on a.spare: billing of a.main
        991 > swapped
        2190 < probe a.main
        2191 > probed a.main=ok
        2221 < probe a.main
        2222 > probed a.main=ok
        2222 < tell recovered a.main
        86410 < swap to primary on a.main (long a.long): recovered
        86421 > swapped
        = serving primary on a.main (long a.long)
    """,
    "flapping_is_forgiven_after_a_while": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        310 < probe a.main
        311 > probed a.main=ok
        341 < probe a.main
        342 > probed a.main=ok
        342 < tell recovered a.main
        342 < swap to primary on a.main (long a.long): recovered
        343 > swapped
        1000 > a.main 402 on-demand
        1000 < tell error_seen a.main billing
        1000 < swap to fallback on a.spare: billing of a.main
        1001 > swapped
        1300 < probe a.main
        1301 > probed a.main=billing
        = serving fallback on a.spare
    """,
    "probe_never_answered": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        310 < probe a.main
        682 > probed a.main=ok
        712 < probe a.main
        713 > probed a.main=ok
        713 < tell recovered a.main
        713 < swap to primary on a.main (long a.long): recovered
        = swapping fallback on a.spare
    """,
    "probe_overtaken_by_traffic": """
        0 > ready
        10 > silent
        10 < probe a.main a.long
        20 > a.main 402 on-demand
        20 < tell error_seen a.main billing
        20 < swap to fallback on a.spare: billing of a.main
        21 > swapped
        22 > probed a.main=ok a.long=ok a.spare=ok
        = serving fallback on a.spare
    """,
    "line_older_than_the_probe": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        310 < probe a.main
        311 > probed a.main=ok
        312 > a.main 402 on-demand @-5
        341 < probe a.main
        342 > probed a.main=ok
        342 < tell recovered a.main
        342 < swap to primary on a.main (long a.long): recovered
        343 > swapped
        344 > a.main 402 on-demand @-10
        = serving primary on a.main (long a.long)
    """,
    "a_model_without_a_route_returns_without_a_swap": """
        0 > ready
        1 > edit fallback=a.main
        1 < swap to primary on a.main (long a.long): edited
        1.6 > swapped
        40 > a.spare 402 on-demand
        40 < tell error_seen a.spare billing
        50 > a.long 404 gone
        50 < tell error_seen a.long missing
        50 < swap to primary on a.main: missing of a.long
        50.6 > swapped
        340 < probe a.spare
        341 > probed a.spare=ok
        350 < probe a.long
        351 > probed a.long=missing
        371 > probed a.spare=ok
        371 < tell recovered a.spare
        = serving primary on a.main
    """,
    "clock_set_back": """
        0 > ready
        10 > a.main 429 cap
        10 < tell error_seen a.main quota
        10 < probe a.spare a.long
        10.5 > probed a.spare=quota!+600 a.long=quota!+600
        10.5 < tell error_seen Provider a quota
        10.5 < swap to fallback on b.twin: quota of a.main
        11 > swapped
        12 > probed a.main=quota!+600
        20 > clock -86400
        30 > b.twin 402 on-demand
        30 < tell error_seen b.twin billing
        30 < notify exhausted
        330 < probe b.twin
        331 > probed b.twin=ok
        331 < notify recovered
        361 < probe b.twin
        362 > probed b.twin=ok
        362 < tell recovered b.twin
        614 < probe a.main
        615 > probed a.main=ok
        615 < probe a.spare
        616 > probed a.long=ok a.spare=ok
        645 < probe a.main
        646 > probed a.main=ok a.long=ok a.spare=ok
        646 < tell recovered a.main
        646 < tell recovered a.long
        646 < tell recovered a.spare
        646 < swap to primary on a.main (long a.long): recovered
        647 > swapped
        = serving primary on a.main (long a.long)
    """,
    "resume_after_sleep": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        310 < probe a.main
        311 > probed a.main=billing
        911 < probe a.main
        2181 < probe a.main
        4651 < probe a.main
        8321 < probe a.main
        11991 < probe a.main
        15661 < probe a.main
        19331 < probe a.main
        23001 < probe a.main
        26671 < probe a.main
        30000 > probed a.main=ok
        30030 < probe a.main
        30031 > probed a.main=ok
        30031 < tell recovered a.main
        30031 < swap to primary on a.main (long a.long): recovered
        30032 > swapped
        = serving primary on a.main (long a.long)
    """,
    # Nothing serves
    "both_dead": """
        0 > ready
        10 > a.main 402 no-quota
        10 < tell error_seen a.main billing
        10 < probe a.spare a.long
        10.5 > probed a.spare=billing! a.long=billing!
        10.5 < tell error_seen Provider a billing
        10.5 < swap to fallback on b.twin: billing of a.main
        11 > swapped
        20 > b.twin 402 no-quota
        20 < tell error_seen Provider b billing
        20 < notify exhausted
        310.5 < probe a.main
        311 > probed a.main=billing! b.twin=billing!
        911 < probe a.main b.twin
        912 > probed a.main=billing!
        913 > probed b.twin=billing!
        2112 < probe a.main
        2113 < probe b.twin
        2115 > probed a.main=ok b.twin=billing!
        2115 < probe a.spare
        2115 < notify recovered
        2115 < swap to fallback on a.main: billing of b.twin
        2116 > swapped
        2117 > probed a.spare=ok a.long=ok
        2145 < probe a.main
        2145 < swap to primary on a.main (long a.long): recovered
        2147 < probe a.spare a.long
        2150 > probed a.main=ok a.spare=ok a.long=ok
        2150 < tell recovered a.main
        2150 < tell recovered a.spare
        2150 < tell recovered a.long
        2151 > swapped
        = serving primary on a.main (long a.long)
    """,
    "all_models_gone_one_after_the_other": """
        0 > ready
        100 > a.main 404 gone
        100 < tell error_seen a.main missing
        100 < swap to fallback on a.spare: missing of a.main
        101 > swapped
        102 > a.spare 404 gone
        102 < tell error_seen a.spare missing
        102 < swap to fallback on b.twin: missing of a.spare
        103 > swapped
        104 > a.long 404 gone
        104 < tell error_seen a.long missing
        105 > b.twin 404 gone
        105 < tell error_seen b.twin missing
        105 < notify exhausted
        = exhausted fallback on b.twin, degraded
    """,
    "edit_while_exhausted": """
        0 > ready
        10 > a.main 402 no-quota
        10 < tell error_seen a.main billing
        10 < probe a.spare a.long
        10.5 > probed a.spare=billing! a.long=billing!
        10.5 < tell error_seen Provider a billing
        10.5 < swap to fallback on b.twin: billing of a.main
        11 > swapped
        20 > b.twin 402 no-quota
        20 < tell error_seen Provider b billing
        20 < notify exhausted
        30 > edit default=a.newer
        30 < probe a.newer
        32 > probed a.newer=ok
        32 < probe a.main
        32 < notify recovered
        32 < swap to primary on a.newer: billing of b.twin
        33 > swapped
        = serving primary on a.newer
    """,
    # What a prompt can write
    "trouble_of_the_request_alone": """
        0 > ready
        10 > a.main 400 too-long x50
        = serving primary on a.main (long a.long)
    """,
    "a_400_is_looked_at_before_it_counts": """
        0 > ready
        10 > a.main 400 too-long x20
        20 > a.main 400 dead-400
        20 < probe a.main
        22 > probed a.main=ok
        30 > a.main 400 dead-400
        82 < probe a.main
        83 > probed a.main=missing
        83 < tell error_seen a.main missing
        83 < swap to fallback on a.spare: missing of a.main
        84 > swapped
        = serving fallback on a.spare
    """,
    "prompt_names_a_model_that_does_not_exist": """
        0 > ready
        10 > a.elsewhere 404 gone x50
        = serving primary on a.main (long a.long)
    """,
    "prompt_names_a_model_that_is_not_paid_for": """
        0 > ready
        10 > a.elsewhere 402 no-quota x3
        10 < probe a.main a.spare a.long
        12 > probed a.main=ok a.long=ok a.spare=ok
        = serving primary on a.main (long a.long)
    """,
    # Backends
    "crash": """
        0 > ready
        10 > died
        10 < tell crashed
        10 < restart
        11 > ready
        12 > died
        12 < tell crashed
        12.5 < restart
        13 > died
        13 < tell crashed
        14 > died
        14 < tell crashed
        16 < restart
        200 > ready
        400 > died
        400 < tell crashed
        400 < restart
        = restarting primary on a.main (long a.long), degraded
    """,
    "ccr_keeps_dying": """
        0 > ready
        10 > died x8
        10 < tell crashed
        10 < restart
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < notify crashed
        10 < swap to fallback on a.spare: crashed
        11 > swapped
        310 < swap to primary on a.main (long a.long): recovered
        311 > swapped
        312 > died
        312 < swap to fallback on a.spare: crashed
        313 > swapped
        912 < swap to primary on a.main (long a.long): recovered
        913 > swapped
        1100 > died
        1100 < tell crashed
        1100 < restart
        1101 > ready
        = serving primary on a.main (long a.long)
    """,
    "ccr_dies_of_both_profiles": """
        0 > ready
        10 > died x8
        10 < tell crashed
        10 < restart
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < notify crashed
        10 < swap to fallback on a.spare: crashed
        11 > failed
        11 < restart
        12 > died
        312 < swap to fallback on a.spare: crashed
        313 > failed
        313 < restart
        314 > ready
        = serving primary on a.main (long a.long)
    """,
    "a_person_swaps_while_ccr_keeps_dying": """
        0 > ready
        10 > died
        10 < tell crashed
        10 < restart
        11 > died
        11 < tell crashed
        11.2 > pin fallback
        11.2 < swap to fallback on a.spare: asked
        12 > swapped
        = serving fallback on a.spare, pinned fallback
    """,
    "a_person_swaps_while_a_restart_is_under_way": """
        0 > ready
        10 > died
        10 < tell crashed
        10 < restart
        10.2 > pin fallback
        11 > ready
        11 < swap to fallback on a.spare: asked
        12 > swapped
        = serving fallback on a.spare, pinned fallback
    """,
    "a_person_asks_for_what_rests": """
        0 > ready
        10 > died x8
        10 < tell crashed
        10 < restart
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < tell crashed
        10 < notify crashed
        10 < swap to fallback on a.spare: crashed
        11 > failed
        11 < restart
        12 > died
        20 > pin primary
        20 < restart
        21 > ready
        = serving primary on a.main (long a.long)
    """,
    "the_other_profile_is_due_before_the_next_try": """
        0 > ready
        50 > pin fallback
        50 < swap to fallback on a.spare: asked
        50.5 > failed
        340 > died x8
        340 < tell crashed
        340 < restart
        340 < tell crashed
        340 < tell crashed
        340 < tell crashed
        340 < tell crashed
        340 < tell crashed
        340 < tell crashed
        340 < notify crashed
        350.5 < swap to fallback on a.spare: crashed
        360 > swapped
        = serving fallback on a.spare, pinned fallback
    """,
    "one_that_once_did_not_come_up_is_not_one_that_ccr_dies_of": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > failed
        11 < swap to primary on a.spare (long a.long): billing of a.main
        11.1 > failed
        310 < probe a.main
        311 < swap to fallback on a.spare: billing of a.main
        320 > swapped
        320.5 > died
        320.5 < tell crashed
        320.5 < restart
        321 > ready
        = serving fallback on a.spare
    """,
    "a_person_mends_what_ccr_dies_of": """
        0 > ready
        10 > died
        10 < tell crashed
        10 < restart
        11 > died
        11 < tell crashed
        11.2 > edit default=a.long
        11.2 < swap to primary on a.long: edited
        12 > swapped
        = serving primary on a.long
    """,
    "crash_during_swap": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        10.2 > died
        10.6 > swapped
        = serving fallback on a.spare
    """,
    "crash_and_no_swap_either": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        10.2 > died
        11 > failed
        11 < restart
        12 > ready
        12 < swap to primary on a.spare (long a.long): billing of a.main
        12.6 > swapped
        310 < probe a.main
        311 > probed a.main=billing
        311 < swap to fallback on a.spare: recovered
        320 > swapped
        = serving fallback on a.spare
    """,
    "swap_target_does_not_come_up": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > failed
        11 < swap to primary on a.spare (long a.long): billing of a.main
        12 > swapped
        = serving primary on a.spare (long a.long)
    """,
    "better_configuration_does_not_come_up": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        310 < probe a.main
        311 > probed a.main=ok
        341 < probe a.main
        342 > probed a.main=ok
        342 < tell recovered a.main
        342 < swap to primary on a.main (long a.long): recovered
        343 > failed
        643 < swap to primary on a.main (long a.long): recovered
        650 > failed
        1250 < swap to primary on a.main (long a.long): recovered
        1251 > swapped
        = serving primary on a.main (long a.long)
    """,
    "error_while_the_swap_is_on_its_way": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        10.2 > a.spare 402 on-demand
        10.2 < tell error_seen a.spare billing
        10.6 > swapped
        10.6 < swap to fallback on b.twin: billing of a.spare
        11.2 > swapped
        = serving fallback on b.twin
    """,
    "trouble_before_the_first_backend_is_ready": """
        0 > a.main 402 on-demand
        0 < tell error_seen a.main billing
        1 > ready
        1 < swap to fallback on a.spare: billing of a.main
        2 > swapped
        = serving fallback on a.spare
    """,
    "stop_in_the_middle_of_a_swap": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        10.2 > stop
        10.6 > swapped
        11 > a.spare 402 on-demand
        = stopping primary on a.main (long a.long), degraded
    """,
    # People
    "edit_while_it_serves": """
        0 > ready
        10 > edit default=a.long
        10 < swap to primary on a.long: edited
        11 > swapped
        20 > edit default=a.main
        20 < swap to primary on a.main (long a.long): edited
        22 > swapped
        = serving primary on a.main (long a.long)
    """,
    "edit_names_a_new_model": """
        0 > ready
        10 > edit default=a.newer
        10 < probe a.newer
        12 > probed a.newer=missing
        12 < tell error_seen a.newer missing
        12 < swap to fallback on a.spare: edited
        13 > swapped
        = serving fallback on a.spare
    """,
    "edits_do_not_use_up_the_swaps": """
        0 > ready
        40 > edit default=a.long
        40 < swap to primary on a.long: edited
        41 > swapped
        80 > edit default=a.main
        80 < swap to primary on a.main (long a.long): edited
        81 > swapped
        120 > edit default=a.long
        120 < swap to primary on a.long: edited
        121 > swapped
        160 > edit default=a.main
        160 < swap to primary on a.main (long a.long): edited
        161 > swapped
        200 > edit default=a.long
        200 < swap to primary on a.long: edited
        201 > swapped
        240 > edit default=a.main
        240 < swap to primary on a.main (long a.long): edited
        241 > swapped
        280 > edit default=a.long
        280 < swap to primary on a.long: edited
        281 > swapped
        290 > a.long 402 on-demand
        290 < tell error_seen a.long billing
        290 < swap to fallback on a.spare: billing of a.long
        291 > swapped
        = serving fallback on a.spare
    """,
    "person_pins_and_unpins": """
        0 > ready
        10 > pin fallback
        10 < swap to fallback on a.spare: asked
        10.6 > swapped
        20 > a.spare 402 on-demand
        20 < tell error_seen a.spare billing
        20 < swap to fallback on b.twin: billing of a.spare
        20.6 > swapped
        320 < probe a.spare
        330 > probed a.spare=ok
        355 > probed a.spare=ok
        355 < tell recovered a.spare
        355 < swap to fallback on a.spare: recovered
        356 > swapped
        400 > pin primary
        400 < swap to primary on a.main (long a.long): asked
        400.6 > swapped
        = serving primary on a.main (long a.long)
    """,
    "person_wants_a_model_that_is_away": """
        0 > ready
        10 > a.main 402 on-demand
        10 < tell error_seen a.main billing
        10 < swap to fallback on a.spare: billing of a.main
        11 > swapped
        20 > pin primary
        20 < probe a.main
        22 > probed a.main=ok
        22 < tell recovered a.main
        22 < swap to primary on a.main (long a.long): asked
        23 > swapped
        30 > a.main 402 on-demand
        30 < tell error_seen a.main billing
        30 < swap to fallback on a.spare: billing of a.main
        31 > swapped
        40 > pin primary
        40 < probe a.main
        42 > probed a.main=billing
        42 < swap to primary on a.spare (long a.long): asked
        = swapping fallback on a.spare, pinned primary
    """,
    "pinned_fallback_stays": """
        0 > ready
        10 > pin fallback
        10 < swap to fallback on a.spare: asked
        10.6 > swapped
        4000 > wake
        = serving fallback on a.spare, pinned fallback
    """,
}


@pytest.mark.parametrize("name", HISTORIES)
def test_history(name: str) -> None:
    """It goes as written, to the last line."""
    expected = dedent(HISTORIES[name]).strip()
    assert Player().play(expected) == expected
