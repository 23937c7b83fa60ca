"""
The engine on a schedule and on a screen. Only this package imports Dagster.
"""

from .definitions import build_cdc_definitions as build_cdc_definitions
from .translator import CdcAssetProps as CdcAssetProps
from .translator import CdcTranslator as CdcTranslator
from .translator import Role as Role
