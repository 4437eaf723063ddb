"""The tables of rules, of rulesets, and of the rules in each ruleset."""

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, Identified, JsonObject, Timestamped


class Rule(Identified, Timestamped, Base):
    """An instruction for assistants."""

    __tablename__ = "rules"

    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    name: Mapped[str]
    rule: Mapped[str]
    meta: Mapped[JsonObject] = mapped_column("metadata", server_default="{}")
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))

    __table_args__ = (
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
        CheckConstraint("length(rule) between 1 and 2000", name="rule_length"),
        CheckConstraint("jsonb_typeof(metadata) = 'object'", name="metadata_is_object"),
        Index("ix_rules_page", "organization_id", text("created_at DESC"), "id"),
    )


class Ruleset(Identified, Timestamped, Base):
    """A named list of rules."""

    __tablename__ = "rulesets"

    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    name: Mapped[str]
    alias: Mapped[str | None]
    description: Mapped[str] = mapped_column(server_default="")
    meta: Mapped[JsonObject] = mapped_column("metadata", server_default="{}")
    created_by: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id"))

    __table_args__ = (
        CheckConstraint("length(name) between 1 and 200", name="name_length"),
        CheckConstraint("length(alias) between 1 and 200", name="alias_length"),
        CheckConstraint("jsonb_typeof(metadata) = 'object'", name="metadata_is_object"),
        Index("uq_rulesets_alias", "organization_id", "alias", unique=True),
        Index("ix_rulesets_page", "organization_id", text("created_at DESC"), "id"),
    )


class RulesetRule(Base):
    """A rule's place in a ruleset; deleting either deletes it."""

    __tablename__ = "ruleset_rules"

    ruleset_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("rulesets.id", ondelete="CASCADE"), primary_key=True
    )
    rule_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("rules.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    position: Mapped[int]
