"""The dialects that this server speaks; a new one is its folder and a line here."""

from typing import Final

from api.console.dialect import CONSOLE
from api.dialect import Dialects
from api.griptape.dialect import GRIPTAPE
from api.watsonx.dialect import WATSONX

DIALECTS: Final = Dialects([GRIPTAPE, WATSONX, CONSOLE])
