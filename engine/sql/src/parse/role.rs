//! Roles, privileges and databases.

use smallvec::smallvec;

use super::ast::{
    AccessPriv, AlterDatabaseStmt, AlterDefaultPrivilegesStmt, AlterRoleStmt, AlterSettingStmt,
    CreateRoleStmt, CreatedbStmt, DefArg, DefElem, DropRoleStmt, DropdbStmt, GrantRoleStmt, GrantStmt,
    GrantTarget, ObjectName, ObjectType, RenameTarget, RoleSpec, Statement,
};
use super::cursor::Parser;
use super::error::{PResult, ParseError};
use super::keywords::Kw;
use super::lexer::Kind;
use super::object::rename;
use super::options::{flag, option, text_option};
use super::primary::name;

impl Parser<'_> {
    // Roles.

    /// CREATE ROLE, USER, GROUP, after the last word.
    pub(super) fn create_role(&mut self, is_user: bool, pos: u32) -> PResult<Statement> {
        let name = self.role_id()?;
        self.eat_kw(Kw::With);
        let options = self.role_options(true)?;
        Ok(Statement::CreateRole(Box::new(CreateRoleStmt { name, is_user, options, pos })))
    }

    fn role_options(&mut self, creating: bool) -> PResult<Vec<DefElem>> {
        let mut options = Vec::new();
        while let Some(elem) = self.opt_role_option(creating)? {
            options.push(elem);
        }
        Ok(options)
    }

    fn role_list_option(&mut self, text: &str, pos: u32) -> PResult<DefElem> {
        let roles = self.list(|p| Ok(DefArg::Role(p.role_spec()?)))?;
        Ok(option(text, Some(DefArg::List(roles)), pos))
    }

    fn opt_role_option(&mut self, creating: bool) -> PResult<Option<DefElem>> {
        let pos = self.pos();
        let kind = self.kind();
        let known = match kind {
            Kind::Kw(Kw::In) => creating,
            Kind::Kw(
                Kw::Password
                | Kw::Encrypted
                | Kw::Unencrypted
                | Kw::Inherit
                | Kw::Connection
                | Kw::Valid
                | Kw::User,
            )
            | Kind::Ident => true,
            Kind::Kw(Kw::Sysid | Kw::Admin | Kw::Role) => creating,
            _ => false,
        };
        if !known {
            return Ok(None);
        }
        let tok = self.bump();
        Ok(Some(match kind {
            Kind::Kw(Kw::Password) => {
                let value = if self.eat_kw(Kw::Null) { None } else { Some(DefArg::String(self.string()?)) };
                option("password", value, pos)
            }
            Kind::Kw(Kw::Encrypted) => {
                self.expect_kw(Kw::Password)?;
                text_option("password", self.string()?, pos)
            }
            Kind::Kw(Kw::Unencrypted) => {
                self.expect_kw(Kw::Password)?;
                self.string()?;
                return Err(ParseError::unsupported("UNENCRYPTED PASSWORD is no longer supported", pos)
                    .hint("Remove UNENCRYPTED to store the password in encrypted form instead."));
            }
            Kind::Kw(Kw::Inherit) => flag("inherit", true, pos),
            Kind::Kw(Kw::Connection) => {
                self.expect_kw(Kw::Limit)?;
                option("connectionlimit", Some(DefArg::Integer(self.signed_int()?)), pos)
            }
            Kind::Kw(Kw::Valid) => {
                self.expect_kw(Kw::Until)?;
                text_option("validUntil", self.string()?, pos)
            }
            Kind::Kw(Kw::User) => self.role_list_option("rolemembers", pos)?,
            Kind::Kw(Kw::Sysid) => option("sysid", Some(DefArg::Integer(self.int()?)), pos),
            Kind::Kw(Kw::Admin) => self.role_list_option("adminmembers", pos)?,
            Kind::Kw(Kw::Role) => self.role_list_option("rolemembers", pos)?,
            Kind::Kw(Kw::In) => {
                if !self.eat_kw(Kw::Role) {
                    self.expect_kw(Kw::Group)?;
                }
                self.role_list_option("addroleto", pos)?
            }
            _ => match self.text(tok).to_ascii_lowercase().as_str() {
                "superuser" => flag("superuser", true, pos),
                "nosuperuser" => flag("superuser", false, pos),
                "createrole" => flag("createrole", true, pos),
                "nocreaterole" => flag("createrole", false, pos),
                "replication" => flag("isreplication", true, pos),
                "noreplication" => flag("isreplication", false, pos),
                "createdb" => flag("createdb", true, pos),
                "nocreatedb" => flag("createdb", false, pos),
                "login" => flag("canlogin", true, pos),
                "nologin" => flag("canlogin", false, pos),
                "bypassrls" => flag("bypassrls", true, pos),
                "nobypassrls" => flag("bypassrls", false, pos),
                "noinherit" => flag("inherit", false, pos),
                word => {
                    let message = format!("unrecognized role option \"{word}\"");
                    return Err(ParseError::syntax(message, pos));
                }
            },
        }))
    }

    /// ALTER ROLE, USER, GROUP, after the last word.
    pub(super) fn alter_role(&mut self, group: bool, pos: u32) -> PResult<Statement> {
        if !group && self.at_kw(Kw::All) && !self.at_kw_n(1, Kw::With) {
            self.bump();
            return self.alter_role_setting(None);
        }
        let at = self.pos();
        let role = self.role_spec()?;
        if self.eat_kws(&[Kw::Rename, Kw::To]) {
            let RoleSpec::Name(old) = role else { return self.unexpected() };
            let object =
                ObjectName { kind: ObjectType::Role, names: smallvec![old], args: None, of: None, pos: at };
            return Ok(rename(RenameTarget::Object(object), self.role_id()?, false, pos));
        }
        if group {
            let drop_members = !self.eat_kw(Kw::Add);
            if drop_members {
                self.expect_kw(Kw::Drop)?;
            }
            let at = self.expect_kw(Kw::User)?.start;
            let options = vec![self.role_list_option("rolemembers", at)?];
            return Ok(Statement::AlterRole(Box::new(AlterRoleStmt { role, options, drop_members, pos })));
        }
        if matches!(self.kind(), Kind::Kw(Kw::Set | Kw::Reset | Kw::In)) {
            return self.alter_role_setting(Some(role));
        }
        self.eat_kw(Kw::With);
        let options = self.role_options(false)?;
        Ok(Statement::AlterRole(Box::new(AlterRoleStmt { role, options, drop_members: false, pos })))
    }

    fn alter_role_setting(&mut self, role: Option<RoleSpec>) -> PResult<Statement> {
        let mut database = None;
        if self.eat_kw(Kw::In) {
            self.expect_kw(Kw::Database)?;
            database = Some(self.col_id()?);
        }
        let set = self.set_or_reset()?;
        Ok(Statement::AlterSetting(Box::new(AlterSettingStmt { role, database, set })))
    }

    /// DROP ROLE, USER, GROUP, after the last word.
    pub(super) fn drop_role(&mut self, pos: u32) -> PResult<Statement> {
        let if_exists = self.if_exists();
        let roles = self.list(Self::role_spec)?;
        Ok(Statement::DropRole(DropRoleStmt { roles, if_exists, pos }))
    }

    // Privileges.

    /// GRANT and REVOKE.
    pub(super) fn grant(&mut self, is_grant: bool) -> PResult<Statement> {
        let pos = self.bump().start;
        // REVOKE may begin with GRANT OPTION FOR, or ADMIN / INHERIT / SET OPTION FOR.
        let mut grant_option = false;
        let mut options = Vec::new();
        if !is_grant && self.at_kw_n(1, Kw::Option) {
            let at = self.pos();
            let word = self.col_label()?;
            self.bump();
            self.expect_kw(Kw::For)?;
            if &*word == "grant" {
                grant_option = true;
            } else {
                options.push(flag(&word, false, at));
            }
        }
        let all = self.at_kw(Kw::All);
        let privileges = self.privileges()?;
        if all && !self.at_kw(Kw::On) {
            return self.unexpected();
        }
        if self.eat_kw(Kw::On) {
            let target = self.grant_target()?;
            let grant = self.grant_rest(is_grant, privileges, target, grant_option, pos)?;
            return Ok(Statement::Grant(Box::new(grant)));
        }
        self.expect_kw(if is_grant { Kw::To } else { Kw::From })?;
        let grantees = self.list(Self::role_spec)?;
        if is_grant && self.eat_kw(Kw::With) {
            options = self.list(|p| {
                let at = p.pos();
                let word = p.col_label()?;
                let value = match p.kind() {
                    Kind::Kw(Kw::Option | Kw::True) => true,
                    Kind::Kw(Kw::False) => false,
                    _ => return p.unexpected(),
                };
                p.bump();
                Ok(flag(&word, value, at))
            })?;
        }
        let grantor = self.opt_granted_by()?;
        let cascade = self.opt_cascade();
        let grant = GrantRoleStmt { is_grant, granted: privileges, grantees, options, grantor, cascade, pos };
        Ok(Statement::GrantRole(Box::new(grant)))
    }

    fn opt_granted_by(&mut self) -> PResult<Option<RoleSpec>> {
        if !self.eat_kw(Kw::Granted) {
            return Ok(None);
        }
        self.expect_kw(Kw::By)?;
        Ok(Some(self.role_spec()?))
    }

    /// privileges; empty for ALL.
    fn privileges(&mut self) -> PResult<Vec<AccessPriv>> {
        if self.at_kw(Kw::All) {
            self.bump();
            self.eat_kw(Kw::Privileges);
            if self.at_char(b'(') {
                let columns = self.name_list_in_parens()?;
                return Ok(vec![AccessPriv { name: None, columns }]);
            }
            return Ok(Vec::new());
        }
        self.list(|p| {
            let privilege = match p.kind() {
                Kind::Kw(Kw::Select | Kw::References | Kw::Create) => p.take_name()?,
                Kind::Kw(Kw::Alter) if p.at_kw_n(1, Kw::System) => {
                    p.bump();
                    p.bump();
                    name("alter system")
                }
                _ => p.col_id()?,
            };
            let columns = p.opt_name_list()?;
            Ok(AccessPriv { name: Some(privilege), columns })
        })
    }

    /// privilege_target.
    fn grant_target(&mut self) -> PResult<GrantTarget> {
        use ObjectType as O;
        if self.eat_kw(Kw::All) {
            let kind = match self.kind() {
                Kind::Kw(Kw::Tables) => O::Table,
                Kind::Kw(Kw::Sequences) => O::Sequence,
                Kind::Kw(Kw::Functions) => O::Function,
                Kind::Kw(Kw::Procedures) => O::Procedure,
                Kind::Kw(Kw::Routines) => O::Routine,
                _ => return self.unexpected(),
            };
            self.bump();
            self.expect_kws(&[Kw::In, Kw::Schema])?;
            return Ok(GrantTarget::AllInSchema(kind, self.list(Self::col_id)?));
        }
        let foreign_server = self.at_kws(&[Kw::Foreign, Kw::Server]);
        let kind = if foreign_server {
            self.bump();
            self.bump();
            O::ForeignServer
        } else {
            match (self.kind(), self.kind_at(1)) {
                (Kind::Kw(Kw::Parameter), next) if Self::is_col_id(next) => {
                    self.bump();
                    O::ParameterAcl
                }
                (
                    Kind::Kw(
                        Kw::Table
                        | Kw::Sequence
                        | Kw::Foreign
                        | Kw::Function
                        | Kw::Procedure
                        | Kw::Routine
                        | Kw::Database
                        | Kw::Domain
                        | Kw::Language
                        | Kw::Large
                        | Kw::Schema
                        | Kw::Tablespace
                        | Kw::Type,
                    ),
                    next,
                ) if !matches!(next, Kind::Char(_) | Kind::Kw(Kw::To | Kw::From)) => self.object_type()?,
                _ => O::Table,
            }
        };
        let objects = self.list(|p| {
            if kind == O::ParameterAcl {
                let pos = p.pos();
                let names = smallvec![p.var_name()?];
                return Ok(ObjectName { kind, names, args: None, of: None, pos });
            }
            p.object_name(kind)
        })?;
        Ok(GrantTarget::Objects(kind, objects))
    }

    fn grant_rest(
        &mut self,
        is_grant: bool,
        privileges: Vec<AccessPriv>,
        target: GrantTarget,
        mut grant_option: bool,
        pos: u32,
    ) -> PResult<GrantStmt> {
        self.expect_kw(if is_grant { Kw::To } else { Kw::From })?;
        let grantees = self.list(|p| {
            p.eat_kw(Kw::Group);
            p.role_spec()
        })?;
        if is_grant && self.eat_kw(Kw::With) {
            self.expect_kws(&[Kw::Grant, Kw::Option])?;
            grant_option = true;
        }
        let grantor = self.opt_granted_by()?;
        let cascade = !is_grant && self.opt_cascade();
        Ok(GrantStmt { is_grant, privileges, target, grantees, grant_option, grantor, cascade, pos })
    }

    /// ALTER DEFAULT PRIVILEGES, after PRIVILEGES.
    pub(super) fn alter_default_privileges(&mut self) -> PResult<Statement> {
        let (mut roles, mut schemas) = (Vec::new(), Vec::new());
        loop {
            if self.eat_kw(Kw::In) {
                self.expect_kw(Kw::Schema)?;
                schemas = self.list(Self::col_id)?;
            } else if self.eat_kw(Kw::For) {
                if !self.eat_kw(Kw::Role) {
                    self.expect_kw(Kw::User)?;
                }
                roles = self.list(Self::role_spec)?;
            } else {
                break;
            }
        }
        let pos = self.pos();
        let is_grant = self.eat_kw(Kw::Grant);
        let mut grant_option = false;
        if !is_grant {
            self.expect_kw(Kw::Revoke)?;
            grant_option = self.eat_kws(&[Kw::Grant, Kw::Option, Kw::For]);
        }
        let privileges = self.privileges()?;
        self.expect_kw(Kw::On)?;
        let kind = match self.kind() {
            Kind::Kw(Kw::Tables) => ObjectType::Table,
            Kind::Kw(Kw::Functions | Kw::Routines) => ObjectType::Function,
            Kind::Kw(Kw::Sequences) => ObjectType::Sequence,
            Kind::Kw(Kw::Types) => ObjectType::Type,
            Kind::Kw(Kw::Schemas) => ObjectType::Schema,
            Kind::Kw(Kw::Large) => {
                self.bump();
                if !self.at_kw(Kw::Objects) {
                    return self.unexpected();
                }
                ObjectType::LargeObject
            }
            _ => return self.unexpected(),
        };
        self.bump();
        let target = GrantTarget::Defaults(kind);
        let action = self.grant_rest(is_grant, privileges, target, grant_option, pos)?;
        let alter = AlterDefaultPrivilegesStmt { roles, schemas, action };
        Ok(Statement::AlterDefaultPrivileges(Box::new(alter)))
    }

    /// `REASSIGN OWNED BY roles TO role`.
    pub(super) fn reassign_owned(&mut self) -> PResult<Statement> {
        self.bump();
        self.expect_kws(&[Kw::Owned, Kw::By])?;
        let roles = self.list(Self::role_spec)?;
        self.expect_kw(Kw::To)?;
        Ok(Statement::ReassignOwned(roles, self.role_spec()?))
    }

    /// DROP OWNED, after OWNED.
    pub(super) fn drop_owned(&mut self) -> PResult<Statement> {
        self.expect_kw(Kw::By)?;
        let roles = self.list(Self::role_spec)?;
        Ok(Statement::DropOwned(roles, self.opt_cascade()))
    }

    // Databases.

    /// CREATE DATABASE, after DATABASE.
    pub(super) fn create_database(&mut self, pos: u32) -> PResult<Statement> {
        let name = self.col_id()?;
        self.eat_kw(Kw::With);
        let options = self.database_options()?;
        Ok(Statement::Createdb(CreatedbStmt { name, options, pos }))
    }

    fn database_options(&mut self) -> PResult<Vec<DefElem>> {
        let mut options = Vec::new();
        loop {
            let pos = self.pos();
            let word = match self.kind() {
                Kind::Kw(Kw::Connection) if self.at_kw_n(1, Kw::Limit) => {
                    self.bump();
                    self.bump();
                    name("connection_limit")
                }
                Kind::Ident
                | Kind::Kw(Kw::Encoding | Kw::Location | Kw::Owner | Kw::Tablespace | Kw::Template) => {
                    self.take_name()?
                }
                _ => return Ok(options),
            };
            self.eat_char(b'=');
            let value = if self.eat_kw(Kw::Default) {
                None
            } else if let Some(number) = self.opt_number()? {
                Some(number)
            } else {
                Some(DefArg::String(self.boolean_or_string()?))
            };
            options.push(option(&word, value, pos));
        }
    }

    /// ALTER DATABASE, after DATABASE.
    pub(super) fn alter_database(&mut self, pos: u32) -> PResult<Statement> {
        let at = self.pos();
        let name = self.col_id()?;
        let object = ObjectName {
            kind: ObjectType::Database,
            names: smallvec![name.clone()],
            args: None,
            of: None,
            pos: at,
        };
        if let Some(stmt) = self.opt_alter_common(&object, false, pos)? {
            return Ok(stmt);
        }
        let at = self.pos();
        let options = if self.eat_kws(&[Kw::Refresh, Kw::Collation, Kw::Version]) {
            vec![flag("refresh_collversion", true, at)]
        } else if self.at_kws(&[Kw::Set, Kw::Tablespace]) && !matches!(self.kind_at(2), Kind::Char(b'=')) {
            self.bump();
            self.bump();
            vec![text_option("tablespace", self.col_id()?, at)]
        } else if matches!(self.kind(), Kind::Kw(Kw::Set | Kw::Reset)) {
            let set = self.set_or_reset()?;
            let alter = AlterSettingStmt { role: None, database: Some(name), set };
            return Ok(Statement::AlterSetting(Box::new(alter)));
        } else {
            self.eat_kw(Kw::With);
            self.database_options()?
        };
        Ok(Statement::AlterDatabase(AlterDatabaseStmt { name, options, pos }))
    }

    /// DROP DATABASE, after DATABASE.
    pub(super) fn drop_database(&mut self, pos: u32) -> PResult<Statement> {
        let if_exists = self.if_exists();
        let name = self.col_id()?;
        let with = self.eat_kw(Kw::With);
        let mut options = Vec::new();
        if with || self.at_char(b'(') {
            options = self.paren_list(|p| {
                let at = p.expect_kw(Kw::Force)?.start;
                Ok(DefElem { arg: None, ..flag("force", true, at) })
            })?;
        }
        Ok(Statement::Dropdb(DropdbStmt { name, if_exists, options, pos }))
    }
}
