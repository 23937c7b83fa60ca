"""
The example, and the demo's code location: a shop's tables, and an asset made of one of them.
"""

from pathlib import Path

import dagster as dg
import pandas as pd

from cdc_assets import build_cdc_definitions, load_config

shop = load_config(Path(__file__).with_name("cdc.yaml"))


@dg.asset(
    group_name="analytics",
    ins={"orders": dg.AssetIn(key=["shop", "public", "orders"])},
    automation_condition=dg.AutomationCondition.eager(),
    kinds={"pandas"},
)
def orders_by_status(orders: pd.DataFrame) -> dg.MaterializeResult[None]:
    """How many orders there are in each state, and what they are worth; made anew as orders change."""
    by_status = orders.groupby("status")["total"].agg(["count", "sum"]).reset_index()
    return dg.MaterializeResult(
        metadata={
            "orders": len(orders),
            "by_status": dg.MetadataValue.md(by_status.to_markdown(index=False, floatfmt=",.2f")),
        }
    )


defs = dg.Definitions.merge(
    build_cdc_definitions(shop, start_sensors=True),
    dg.Definitions(
        assets=[orders_by_status],
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "automation",
                target=dg.AssetSelection.groups("analytics"),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=15,
            )
        ],
        # A process for each step costs seconds, and every asset here is a step of its own.
        executor=dg.in_process_executor,
    ),
)
