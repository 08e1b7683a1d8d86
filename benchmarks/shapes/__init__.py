"""The shapes of histories, by subject."""

from histories import Shape

from . import batches, clients, outages, partial, routing, workers

SHAPES: dict[str, Shape] = {
    "well": partial.well,
    "outage": outages.outage,
    "database": partial.database,
    "few": partial.few,
    "strangers": partial.strangers,
    "share": partial.share,
    "balancer": partial.balancer,
    "slow": partial.slow,
    "maintenance": outages.maintenance,
    "firewall": outages.firewall,
    "revoked": outages.revoked,
    "throttled": partial.throttled,
    "lone": outages.lone,
    "last_few": batches.last_few,
    "last_few_gateway": batches.last_few_gateway,
    "last_many": batches.last_many,
    "last_silent": batches.last_silent,
    "last_of_mode": batches.last_of_mode,
    "first_fails": batches.first_fails,
    "first_fails_gateway": batches.first_fails_gateway,
    "outage_at_end": outages.at_the_end,
    "workers_together": workers.together,
    "workers_one_upload": workers.one_upload,
    "workers_one_by_one": workers.one_by_one,
    "workers_few": workers.few_workers,
    "workers_lose_jobs": workers.lose_jobs,
    "workers_after_outage": workers.after_outage,
    "misrouted": routing.misrouted,
    "never_reached": routing.never_reached,
    "failover": routing.failover,
    "between": routing.between,
    "forgets": routing.forgets,
    "restart_well": outages.restart_well,
    "restart_last": outages.restart_last,
    "restart_down": outages.restart_down,
    "restart_blocked": outages.restart_blocked,
    "restart_key_rejected": outages.restart_key_rejected,
    "restart_throttled": outages.restart_throttled,
    "restart_together": workers.restart_together,
    "restart_one_upload": workers.restart_one_upload,
    "asked": clients.asked,
    "one_mode": partial.one_mode,
    "shard": partial.shard,
    "most": partial.most,
    "bursts": partial.bursts,
    "alone": partial.alone,
    "last_together": batches.last_together,
    "all_fail": batches.all_fail,
    "workers_one_upload_long": workers.one_upload_long,
    "workers_one_by_one_long": workers.one_by_one_long,
    "workers_together_long": workers.together_long,
    "workers_few_long": workers.few_workers_long,
}
RARE: dict[str, Shape] = {"crowd": outages.crowd}
"""Large ones: one in `RARITY` histories is of these."""
RARITY = 1000
"""How many histories come with one of each rare shape."""
